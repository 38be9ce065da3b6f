"""SQLite as the journal and the importer use it: transactions, and errors in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from spo_data.errors import SpoError, first_line


@contextmanager
def clear_sqlite_errors(path: Path, done: str) -> Iterator[None]:
    """Turn SQLite errors into a one-line SpoError: `path` cannot be `done` ("read", "written")."""
    try:
        yield
    except sqlite3.Error as error:
        raise SpoError(f"{path} cannot be {done}: {first_line(error)}") from error


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
