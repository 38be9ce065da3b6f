"""Keeps a grading process to the code that the versions of its verifiers name.

    guard = ImportGuard({"my.py:judge": "judge sha256 1a2b… helper.py 3c4d…", "math-verify": "math-verify 0.9.0 …"})
    guard.install()                          # raises GraderCodeError if something has changed already
    content = guard.read(Path("my.py"))      # the bytes that were compared, to be compiled
    guard.raise_problem()                    # before a verdict leaves the process

A file is read once, compared and compiled; no bytecode cache is read. So are the modules beside a reward function's
file, however late they are imported. Packages are compared before and after they are imported, and again before a later
import of one of their modules. A problem stays, even if the importing code catches the error: no verdict counts then.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError
from os.path import realpath
from pathlib import Path
from types import CodeType, ModuleType
from typing import Never

from spo_data.errors import SpoError, UserError, reason
from spo_data.grading.verifiers.registry import verifier_modules, verifier_version
from spo_data.grading.verifiers.reward_files import checksum, read_checksums, read_files
from spo_data.grading.verifiers.reward_function import is_reward_function, parse_name


class GraderCodeError(SpoError):
    """The code of a verifier is not what its version names, so no more verdicts can be given."""


class ChangedGraderError(GraderCodeError):
    """A reward function's file, a module beside it or a verifier's package was replaced while it was in use."""


class UnlistedModuleError(GraderCodeError):
    """A reward function imported a module beside its file that its version cannot name."""


class ImportGuard(MetaPathFinder):
    """Finds modules as Python does, and compares them with the versions of a process's verifiers."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self.problem: GraderCodeError | None = None
        """The first problem that was found."""
        self._packages = {name: version for name, version in versions.items() if not is_reward_function(name)}
        self._package_modules = {module for name in self._packages for module in verifier_modules(name)}
        self._watches_packages = False
        self._files = {parse_name(name)[0]: version for name, version in versions.items() if is_reward_function(name)}
        self._folder = next((file.parent for file in self._files), None)
        self._checksums: dict[str, str] = {}
        for file, version in self._files.items():
            self._checksums |= read_checksums(version, file)
        self._listed = {_module_name(place): place for place in self._checksums}
        self._beside: set[str] = set()
        """The names of the modules that were found beside a reward function's file."""

    def install(self) -> None:
        """Compare files and packages with the versions, and from now on what is imported; raises GraderCodeError."""
        sys.meta_path.insert(sys.meta_path.index(PathFinder), self)
        self.check_packages()
        for file, version in self._files.items():
            self._check_files(file, version)
        if self._folder is None:
            return
        compared = {realpath(self._folder / place) for place in self._checksums}
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None)
            if name not in ("__main__", "__mp_main__") and origin is not None and realpath(origin) in compared:
                del sys.modules[name]  # the script that started this process imported it, without comparing it

    def watch(self) -> None:
        """Compare the packages again, now that they are imported, and before each later import of their modules."""
        self.check_packages()
        self._watches_packages = bool(self._package_modules)

    def check_packages(self) -> None:
        """Compare the installed packages of the verifiers with the versions; raises GraderCodeError."""
        importlib.invalidate_caches()
        for name, recorded in self._packages.items():
            try:
                present = verifier_version(name)
            except PackageNotFoundError as error:
                present = f"no {error.name}"
            if present != recorded:
                self._fail(
                    ChangedGraderError(
                        f"{name} changed during grading: {recorded} is recorded, and {present} is installed now"
                    )
                )

    def read(self, path: Path) -> bytes:
        """Return a file's content; raises GraderCodeError if the versions do not name it with this content."""
        place = self._find_place(path)
        recorded = self._checksums.get(place)
        if recorded is None:
            self._fail(self._explain_unlisted(path, place))
        try:
            content = path.read_bytes()
        except OSError as error:
            self._fail(ChangedGraderError(f"{path} changed during grading: it cannot be read now: {reason(error)}"))
        if checksum(content) != recorded:
            self._fail(_describe_change(path, recorded, checksum(content)))
        return content

    def raise_problem(self) -> None:
        """Raise the problem that was found, if there is one."""
        if self.problem is not None:
            raise self.problem

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a module beside the file, with a loader that compares it; None for others."""
        if self._watches_packages and fullname.partition(".")[0] in self._package_modules:
            self.check_packages()
        if self._folder is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not self._is_beside(fullname, spec):
            listed = self._listed.get(fullname)
            if listed is not None and not (self._folder / listed).exists():
                self._fail(_describe_change(self._folder / listed, self._checksums[listed], None))
            return None
        self._beside.add(fullname)
        if spec.loader is not None and spec.origin is not None:  # None for a folder without __init__.py
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader = _ComparedFile(fullname, spec.origin, self)
            else:  # an extension module, or bytecode without its source
                self.read(Path(spec.origin))
        return spec

    def _is_beside(self, fullname: str, spec: ModuleSpec) -> bool:
        """Whether a module lies in the folder, or in a package of it; a package that is installed below it does not."""
        parent = fullname.rpartition(".")[0]
        if parent:
            return parent in self._beside
        places = spec.submodule_search_locations or [spec.origin or ""]
        return any(realpath(Path(place).parent) == realpath(self._folder or "") for place in places)

    def _find_place(self, path: Path) -> str:
        """Return a file's path from the folder, however the folder was spelt when the file was found."""
        folder = self._folder or Path()
        if not path.is_relative_to(folder):
            path, folder = Path(realpath(path.parent), path.name), Path(realpath(folder))
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    def _check_files(self, file: Path, version: str) -> None:
        """Compare a reward function's files, those of its version and those that it would have now."""
        try:
            present = {place: checksum(content) for place, content in read_files(file).items()}
        except UserError as error:
            self._fail(ChangedGraderError(f"{file} changed during grading: {error}"))
        recorded = read_checksums(version, file)
        for place in [file.name, *sorted(recorded.keys() | present.keys())]:
            if recorded.get(place) != present.get(place):
                self._fail(_describe_change(file.parent / place, recorded.get(place), present.get(place)))

    def _explain_unlisted(self, path: Path, place: str) -> GraderCodeError:
        """Return why no version names a module: it is new, or imported by a computed name."""
        for file in self._files:
            if place in read_files(file):
                return _describe_change(path, None, checksum(path.read_bytes()))
        files = " or ".join(map(str, self._files))
        return UnlistedModuleError(
            f"{path} is imported by a computed name, so the version of {files} does not include it: import it by its"
            f" name anywhere in that file, as in `import {_module_name(place)}`"
        )

    def _fail(self, problem: GraderCodeError) -> Never:
        self.problem = self.problem or problem
        raise self.problem


class _ComparedFile(SourceFileLoader):
    """Loads a module from the bytes that were compared with the version."""

    def __init__(self, fullname: str, path: str, guard: ImportGuard) -> None:
        super().__init__(fullname, path)
        self._guard = guard

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self._guard.read(Path(path)), path)
        return code


def _describe_change(path: Path, recorded: str | None, present: str | None) -> ChangedGraderError:
    before = "the recorded version has no such module" if recorded is None else f"sha256 {recorded} is recorded"
    now = "the file is gone now" if present is None else f"sha256 {present} is there now"
    return ChangedGraderError(f"{path} changed during grading: {before}, and {now}")


def _module_name(place: str) -> str:
    """Return the dotted name of the module at a path from the folder."""
    *packages, file = Path(place).parts
    name = inspect.getmodulename(file) or file
    return ".".join(packages if name == "__init__" and packages else [*packages, name])
