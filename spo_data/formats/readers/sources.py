"""Find the files to import: a file, a glob, a folder, or a dataset on the Hub.

    find_files("dumps/offline_value_estimation_subset_*/validation_data/0.jsonl")
    find_files("Cornell-AGI/gsm8k_size_qwen2.5_1.5b_eval")

All files have one format and one configuration. If a folder holds several, the error names them. A Hub id is resolved
to a commit first, and files of that commit are downloaded.
"""

import fnmatch
import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spo_data.errors import UserError
from spo_data.hub.download import reach_dataset
from spo_data.hub.ids import may_be_id
from spo_data.values.schema import TABLE_FILES

DATA_SUFFIXES = (".parquet", ".jsonl", ".json")


@dataclass(frozen=True)
class SourceFile:
    """One file, and its name in messages."""

    path: Path
    name: str


@dataclass(frozen=True)
class SourceFiles:
    """The files to read, in order."""

    source: str
    files: tuple[SourceFile, ...]
    format: str
    """The suffix of all files."""
    not_read: tuple[str, ...]
    """Files of other splits."""
    revision: str | None = None
    """The commit, for a Hub dataset."""


def find_files(source: str, revision: str | None = None) -> SourceFiles:
    """Find a source's files; raises UserError if there are none, or if it is unclear which to read."""
    path = Path(source).expanduser()
    is_pattern = any(character in source for character in "*?[") and not os.path.exists(path)
    is_hub = not os.path.exists(path) and not is_pattern
    if is_hub and not may_be_id(source, DATA_SUFFIXES):
        raise UserError(f"{source}: no such file or folder, and not a Hub id (org/name)")
    if is_hub:
        return _find_on_hub(source, revision)
    if revision is not None:
        raise UserError(f"{source} is local: --revision {revision} does not apply to it")
    if path.is_dir():
        names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        chosen, not_read = _choose(source, names, f"spo-data import {source}/DIRECTORY")
        return _make_source_files(source, [SourceFile(path / name, f"{source}/{name}") for name in chosen], not_read)
    matching = [path] if path.is_file() else [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [SourceFile(file, str(file)) for file in matching if file.is_file()]
    formats = {file.path.suffix for file in files}
    if not files:
        raise UserError(f"{source}: no file matches")
    if len(formats) > 1 or not formats <= set(DATA_SUFFIXES):
        raise UserError(
            f"{source}: {', '.join(sorted(formats))} files; import reads one format of {', '.join(DATA_SUFFIXES)}"
        )
    return _make_source_files(source, files, [])


def _find_on_hub(source: str, revision: str | None) -> SourceFiles:
    with reach_dataset(source, revision) as dataset:
        at_commit = f"--repo-type dataset --revision {dataset.commit}"
        download = f"hf download {source} {at_commit} --include 'DIRECTORY/*' --local-dir FOLDER"
        chosen, not_read = _choose(source, dataset.names, f"{download}` and `spo-data import FOLDER/DIRECTORY")
        paths = dataset.download(chosen)
        files = [SourceFile(path, f"{source}/{name}") for path, name in zip(paths, chosen, strict=True)]
    return _make_source_files(source, files, not_read, dataset.commit)


def _choose(source: str, names: Sequence[str], how: str) -> tuple[list[str], list[str]]:
    """The files in a folder to read, and the data files that are not read."""
    visible = sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))
    own = [name for name in visible if fnmatch.fnmatchcase(name, TABLE_FILES) and name.count("/") == 1]
    if own:
        return own, []
    for suffix in DATA_SUFFIXES:
        found = [name for name in visible if name.endswith(suffix)]
        if not found:
            continue
        folders = sorted({os.path.dirname(name) for name in found})
        if suffix != ".jsonl" and len(folders) > 1:
            shown = ", ".join(f"{folder or '.'}/" for folder in folders[:6])
            raise UserError(f"{source} has {suffix} files in {shown}: choose one with `{how}`")
        if suffix == ".jsonl":
            return found, []
        train = [name for name in found if os.path.basename(name).startswith("train")] or found
        return train, [name for name in found if name not in train]
    raise UserError(f"{source} has no {', '.join(DATA_SUFFIXES)} file")


def _make_source_files(
    source: str, files: Sequence[SourceFile], not_read: Sequence[str], revision: str | None = None
) -> SourceFiles:
    return SourceFiles(source, tuple(files), files[0].path.suffix, tuple(not_read), revision)
