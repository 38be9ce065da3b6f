"""Check that the files which a dataset card names are its own.

    find_foreign(builder.config.data_files, "data/sums")        # "/home/me/notes.csv", or None

`datasets` reads whatever the card of a folder names: `../../notes.csv`, an absolute path, or a link to either. Before
version 5 it does so for datasets on the Hub, too. Rows of a file that the user never named would become prompts, which
are published with a run.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path


class ForeignFileError(ValueError):
    """A card names a file that is not one of its dataset's; the message is its name."""


def find_foreign(files: Mapping[str, Iterable[str]] | None, dataset: str) -> str | None:
    """Return the first file, of any split, that is not in the folder or Hub dataset; None if all are."""
    names = [name for split in (files or {}).values() for name in split]
    if not os.path.isdir(dataset):
        return next((name for name in names if not name.startswith(f"hf://datasets/{dataset}@")), None)
    folder = Path(dataset).resolve()
    # The Hub's cache holds a snapshot as links to files beside it.
    roots = [folder, folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [folder]
    return next((name for name in names if not _is_in(name, roots)), None)


def _is_in(name: str, roots: list[Path]) -> bool:
    path = Path(name)  # not absolute: an address
    return path.is_absolute() and any(path.resolve().is_relative_to(root) for root in roots)
