"""Transactions of the journal and the importer."""

import errno
import sqlite3
import tempfile
from pathlib import Path

import pytest

from spo_data.errors import SpoError
from spo_data.sqlite import Transaction, clear_sqlite_errors, sqlite_reason


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(tmp_path / "numbers.sqlite", isolation_level=None)
    db.execute("CREATE TABLE numbers (number INTEGER)")
    return db


def read(db: sqlite3.Connection) -> list[int]:
    return [number for (number,) in db.execute("SELECT number FROM numbers ORDER BY number")]


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_begins(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), Transaction(db):
        db.executemany("INSERT INTO numbers VALUES (?)", [(1,)]).execute("INSERT INTO letters VALUES (1)")
    assert read(db) == []
    with Transaction(db):
        db.execute("INSERT INTO numbers VALUES (2)")
    assert read(db) == [2]


def test_what_sqlite_rolled_back_by_itself_keeps_its_own_error(db: sqlite3.Connection) -> None:
    """On a full disk SQLite ends the transaction; a second ROLLBACK would hide why."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"), Transaction(db):
        db.execute("ROLLBACK").execute("INSERT INTO letters VALUES (1)")
    assert not db.in_transaction


def test_an_error_of_sqlite_is_one_line_with_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(SpoError, match=r"x\.sqlite cannot be read: no such table: numbers"),
        clear_sqlite_errors(tmp_path / "x.sqlite", "read"),
    ):
        sqlite3.connect(tmp_path / "x.sqlite").execute("SELECT * FROM numbers")


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (None, "disk I/O error"),
    ],
)
def test_a_disk_that_takes_no_data_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: OSError | None, said: str
) -> None:
    """On a full disk `show` said "disk I/O error": SQLite adds an index of its log even to read a journal."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    if refused is not None:

        def refuse(**_: object) -> None:
            raise refused

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(SpoError) as raised, clear_sqlite_errors(tmp_path / "x.sqlite", "read"):
        raise error
    assert str(raised.value) == f"{tmp_path}/x.sqlite cannot be read: {said}"
    assert list(tmp_path.iterdir()) == []


def test_a_journal_on_a_disk_that_fails_is_not_called_malformed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert sqlite_reason(error, tmp_path) == "database disk image is malformed"

    def fail(**_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    assert sqlite_reason(error, tmp_path) == "Input/output error"


def test_full_temporary_files_are_not_called_a_full_disk_here(db: sqlite3.Connection, tmp_path: Path) -> None:
    db.execute("PRAGMA max_page_count = 2")
    with (
        pytest.raises(SpoError, match="SQLITE_TMPDIR names another folder"),
        clear_sqlite_errors(tmp_path / "x", "read"),
    ):
        db.execute("CREATE TABLE letters (letter TEXT)")
