"""An existing run: its folder and its manifest, read once.

run = read_run(Path("runs/demo"))       # raises UserError if the folder is not a run
run = find_run(Path("runs/new"))        # None if the folder is free for a new run
with run.open_journal() as journal:
    journal.done()
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spo_data.errors import UserError, reason
from spo_data.run.journal import Journal, open_journal
from spo_data.run.manifest import JOURNAL, MANIFEST, Manifest, read_manifest


@dataclass(frozen=True)
class ExistingRun:
    """A run folder, and its manifest at the time of reading."""

    folder: Path
    manifest: Manifest

    @property
    def journal_path(self) -> Path:
        """Where the journal is, or would be."""
        return self.folder / JOURNAL

    @property
    def has_journal(self) -> bool:
        """False for a published run that was downloaded, and until the first call has opened its journal."""
        return self.journal_path.is_file()

    @contextmanager
    def open_journal(self) -> Iterator[Journal]:
        """Open the journal for reading, with the verdicts of the manifest's grader; raises SpoError if unreadable."""
        with open_journal(self.journal_path, self.manifest.grader) as journal:
            yield journal


def read_run(folder: Path) -> ExistingRun:
    """Read a run; raises UserError if the folder has no journal, or no manifest that we can read."""
    manifest = read_manifest(folder)
    run = None if manifest is None else ExistingRun(folder, manifest)
    if run is None or not run.has_journal:
        raise UserError(f"{folder} is not a run folder: `spo-data estimate … --out {folder}` makes one")
    return run


def find_run(out: Path) -> ExistingRun | None:
    """The run in a folder; None if the folder is free for one. Raises UserError if it holds something else."""
    try:
        names = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if not out.is_dir():
            os.stat(out)
            raise UserError(f"--out {out} is a file")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"--out {out} cannot be used: {reason(error)}") from error
    manifest = read_manifest(out)
    if manifest is not None:
        return ExistingRun(out, manifest)
    if names - {".lock", f".{MANIFEST}.new"}:
        raise UserError(f"--out {out} is neither a run nor empty: choose another folder")
    return None
