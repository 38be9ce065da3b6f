"""An existing run: its folder and its manifest, read once.

    run = read_run(Path("runs/demo"))       # raises UserError if the folder is not a run
    run = find_run(Path("runs/new"))        # None if the folder is free for a new run
    with run.open_journal() as journal:
        journal.done()

If `run.json` is lost or cannot be read, the journal's copy takes its place (`run.note` says so). A journal that is
lost, or holds less than the folder says, is never taken for the run: see `spo_data.run.losses`.
"""

import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from spo_data.errors import UserError, reason
from spo_data.files import folder_lock
from spo_data.prompts.identity import Prompt
from spo_data.run.journal import Journal, open_journal
from spo_data.run.journal_checks import DamageError
from spo_data.run.journal_mend import Mended, mend_journal
from spo_data.run.journal_rows import MANIFEST_COPY, manifest_of
from spo_data.run.losses import count_recorded, describe_lost_journal, has_lost_journal, leave_out_lost, refuse_losses
from spo_data.run.manifest import JOURNAL, MANIFEST, Manifest, UnreadableManifestError, parse_manifest, read_manifest
from spo_data.sqlite import clear_sqlite_errors

UNREADABLE = f"{MANIFEST}.unreadable"
"""Where a manifest that cannot be read is kept when the journal's copy takes its place."""


@dataclass(frozen=True)
class ExistingRun:
    """A run folder, and its manifest at the time of reading."""

    folder: Path
    manifest: Manifest
    note: str | None = None
    """What was done because the manifest was lost, for the user."""

    @property
    def journal_path(self) -> Path:
        """Where the journal is, or would be."""
        return self.folder / JOURNAL

    @property
    def has_journal(self) -> bool:
        """False for a published run that was downloaded, and until the first call has opened its journal."""
        return self.journal_path.is_file()

    @property
    def command(self) -> str:
        """The run's command line, for this folder if the run can be continued in it; or ""."""
        return self.manifest.command_for(self.folder) if self.has_journal else self.manifest.command

    @property
    def mending_command(self) -> str:
        """The command that draws and grades again what is damaged in the journal."""
        return self.command or shlex.join(["spo-data", "regrade", str(self.folder)])

    @contextmanager
    def open_journal(self, *, check: bool = True, locked: bool = False) -> Iterator[Journal]:
        """Open the journal for reading, with the verdicts of the manifest's grader; raises SpoError if unreadable.

        Unless `check` is false, it raises UserError if the journal is not the manifest's or holds less than the folder
        says, and what summaries read is checked before. Samples are checked when they are read. `locked` says that the
        caller holds the folder's lock.
        """
        try:
            with open_journal(self.journal_path, self.manifest.grader, check=check, locked=locked) as journal:
                if check:
                    self.check(journal)
                yield journal
        except DamageError as error:
            raise DamageError(f"{error}; to draw and grade again what is damaged: {self.mending_command}") from error

    def mend_journal(self, dataset: Sequence[Prompt] | None = None) -> Mended | None:
        """Replace a damaged journal by its sound rows; None if none is damaged. The caller holds the folder's lock.

        Damaged prompts come from `dataset`. Raises SpoError if the journal cannot be read or mended.
        """
        graders = (self.manifest.grader, *filter(None, (self.manifest.also,)))
        _, recorded = count_recorded(self.folder, self.manifest)
        try:
            with clear_sqlite_errors(self.journal_path, "read"):
                return mend_journal(self.journal_path, graders, dataset, recorded=recorded)
        except DamageError as error:
            raise DamageError(f"{error}; to write them again from the dataset: {self.mending_command}") from error

    def check(self, journal: Journal) -> None:
        """Raise UserError if the journal is not the manifest's, or holds less than the folder says."""
        refuse_losses(self.folder, self.manifest, journal)


def read_run(folder: Path) -> ExistingRun:
    """Read a run; raises UserError if the folder has no journal, or no manifest that we can read."""
    run = find_manifest(folder)
    if run is None:
        _refuse_without_manifest(folder)
        raise UserError(f"{folder} is not a run folder: `spo-data estimate … --out {folder}` makes one")
    if has_lost_journal(folder, run.manifest):
        raise UserError(describe_lost_journal(folder, run.manifest))
    if not run.has_journal:
        raise UserError(f"{folder} has no sample yet: `{run.manifest.command_for(folder)}` draws them")
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
    run = find_manifest(out)
    if run is not None:
        return run
    _refuse_without_manifest(out)
    if names - {".lock", f".{MANIFEST}.new"}:
        raise UserError(f"--out {out} is neither a run nor empty: choose another folder")
    return None


def find_manifest(folder: Path) -> ExistingRun | None:
    """The run of a folder with a manifest, or with the journal's copy of one; None if it has neither.

    The copy is written in the place of what is lost, unless the folder cannot be written, or a call is working on it.
    Raises UserError if the manifest cannot be read and there is no copy.
    """
    found = _find_manifest(folder)
    if found is None or found.note is None:
        return found
    path = folder / MANIFEST
    try:
        with folder_lock(folder, "spo-data", seconds=0):
            found = _find_manifest(folder) or found  # again: another call may have ended since
            if found.note is not None:
                if path.exists():
                    path.rename(folder / UNREADABLE)
                found.manifest.write(folder)
    except (UserError, OSError):
        return replace(found, note=f"{found.note} is read in its place")
    return found if found.note is None else replace(found, note=f"{found.note} is written in its place")


def _find_manifest(folder: Path) -> ExistingRun | None:
    """The run of a folder; with the beginning of a note if its manifest is the journal's copy."""
    try:
        manifest, lost = read_manifest(folder), "is lost"
    except UnreadableManifestError as error:
        if (copy := _read_copy(folder / JOURNAL)) is None:
            raise
        lost = f"cannot be read ({error.why}; it is kept as {UNREADABLE})"
    else:
        if manifest is not None:
            return ExistingRun(folder, manifest)
        if (copy := _read_copy(folder / JOURNAL)) is None:
            return None
    copy, said = leave_out_lost(folder, copy)
    return ExistingRun(folder, copy, f"{folder / MANIFEST} {lost}: its copy in {JOURNAL}{said}")


def _read_copy(journal: Path) -> Manifest | None:
    """The journal's copy of the manifest; None if there is no journal, or no whole copy in it."""
    if not journal.is_file():
        return None
    uri = f"{journal.absolute().as_uri()}?mode=rw"
    with clear_sqlite_errors(journal, "read"), closing(sqlite3.connect(uri, uri=True)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'manifest'").fetchone():
            return None
        text = manifest_of(db.execute(MANIFEST_COPY).fetchone())
    return None if text is None else parse_manifest(text, f"the manifest in {journal}")


def _refuse_without_manifest(folder: Path) -> None:
    """Raise UserError if a folder without manifest has a journal: one without a copy of the manifest."""
    if (folder / JOURNAL).is_file():
        raise UserError(
            f"{folder} has {JOURNAL} but no {MANIFEST}, and this journal holds no copy of it: copy {MANIFEST} back from"
            " where the run was made, or choose another folder"
        )
