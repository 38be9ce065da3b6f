"""SQLite as the journal and the importer use it: transactions, and errors in one line."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from spo_data.errors import SpoError, first_line, reason

_OF_THE_DISK = (
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
    sqlite3.SQLITE_CORRUPT,
)
"""What SQLite says if the disk is the cause, and sometimes else."""
TRIAL_BYTES = 64 * 1024
"""More than the index of a write-ahead log, the smallest file that SQLite adds."""


@contextmanager
def clear_sqlite_errors(path: Path, done: str) -> Iterator[None]:
    """Turn SQLite errors into a one-line SpoError: `path` cannot be `done` ("read", "written")."""
    try:
        yield
    except sqlite3.Error as error:
        raise SpoError(f"{path} cannot be {done}: {sqlite_reason(error, path.parent)}") from error


def sqlite_reason(error: sqlite3.Error, folder: Path) -> str:
    """Why SQLite failed on a file in a folder, in one line.

    For a full disk, a used-up quota and a read-only file system alike, SQLite says "disk I/O error" or that it cannot
    open the file, and on a disk that fails that the database is malformed, so something is written to the folder on
    trial.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details of an extended code
    if code in _OF_THE_DISK:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(TRIAL_BYTES))
        except OSError as refused:
            return reason(refused)
    if code == sqlite3.SQLITE_FULL:
        return "the disk of SQLite's temporary files is full (SQLITE_TMPDIR names another folder)"
    return first_line(error)


class Transaction:
    """One SQLite transaction: committed if the block raises nothing, else rolled back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # on a full disk, SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
