"""The files of a reward function: its own, and the modules beside it that it imports.

    read_files(Path("my.py"))            # {"my.py": b"...", "helper.py": b"...", "lib/words.py": b"..."}
    version = describe_files("judge", Path("my.py"))    # "judge sha256 1a2b… helper.py 3c4d… lib/words.py 5e6f…"
    read_checksums(version, Path("my.py"))              # {"my.py": "1a2b…", "helper.py": "3c4d…", …}

A module is beside the function's file if it lies in the same folder, or in a package below it. Imports are found
without executing anything, wherever in the source they are. A module that is imported by a computed name is not found.
"""

import ast
import hashlib
import inspect
from collections.abc import Iterator
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path

from spo_data.errors import UserError, reason

_OWN = __name__.partition(".")[0]
"""This package, which a reward function in its checkout does not import from beside it."""
_MARK = "sha256"


def checksum(content: bytes) -> str:
    """Return the checksum of a file's content, as versions show it."""
    return hashlib.sha256(content).hexdigest()[:16]


def read_files(file: Path) -> dict[str, bytes]:
    """Return the contents of a reward function's file and of the modules beside it, by path from its folder.

    Raises UserError if one of them cannot be read.
    """
    files = {file.name: _read(file)}
    pending = [("", files[file.name])]
    while pending:
        package, source = pending.pop()
        for name in _find_imports(source, package):
            for path, its_package in _locate(name.split("."), file.parent):
                place = path.relative_to(file.parent).as_posix()
                if len(place.split()) > 1:  # versions are words
                    raise UserError(f"{path}: a module that a reward function imports must have no space in its name")
                if place not in files:
                    files[place] = _read(path)
                    if path.suffix in SOURCE_SUFFIXES:
                        pending.append((its_package, files[place]))
    return files


def describe_files(function: str, file: Path) -> str:
    """Return a reward function's version: its name, its file's checksum, and the modules beside it with theirs."""
    files = read_files(file)
    modules = (f"{place} {checksum(files[place])}" for place in sorted(files.keys() - {file.name}))
    return " ".join([f"{function} {_MARK} {checksum(files[file.name])}", *modules])


def read_checksums(version: str, file: Path) -> dict[str, str]:
    """Return the checksums that the version of a function in this file names, by path from the file's folder."""
    _, _, own, *others = version.split()
    return {**dict(zip(others[::2], others[1::2], strict=True)), file.name: own}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def _find_imports(source: bytes, package: str) -> Iterator[str]:
    """Yield the dotted names that a module of a package imports anywhere; `a.*` stands for the modules in `a`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return  # importing it fails
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = _go_up(package, node.level - 1) if node.level else []
            base = ".".join(filter(None, [*outer, node.module]))
            if base and (outer or not node.level):
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.args[0].value
            if ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__") and isinstance(name, str):
                yield name


def _go_up(package: str, levels: int) -> list[str]:
    parts = package.split(".") if package else []
    return parts[: max(0, len(parts) - levels)]


def _locate(parts: list[str], folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that importing a dotted name executes, each with the package that its own imports start from."""
    if parts[0] == _OWN:
        return
    folders = [str(folder)]
    for depth, part in enumerate(parts):
        if part == "*":
            names = {inspect.getmodulename(path.name) for each in folders for path in sorted(Path(each).iterdir())}
            for name in sorted(filter(None, names)):
                if name != "__init__":
                    yield from _locate([*parts[:depth], name], folder)
            return
        spec = next(filter(None, (_finder(each).find_spec(part) for each in folders)), None) if part else None
        if spec is None:
            return  # an attribute of the module before, or a module of another place
        package = parts[: depth + (spec.submodule_search_locations is not None)]
        if spec.origin is not None and spec.loader is not None:
            yield Path(spec.origin), ".".join(package)
        if spec.submodule_search_locations is None:
            return
        folders = list(spec.submodule_search_locations)


def _finder(folder: str) -> FileFinder:
    """Return what finds a module in a folder as Python does, without what an earlier one has cached."""
    return FileFinder(
        folder,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
