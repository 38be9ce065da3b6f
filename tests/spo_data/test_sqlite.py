"""Transactions of the journal and the importer."""

import sqlite3
from pathlib import Path

import pytest

from spo_data.errors import SpoError
from spo_data.sqlite import Transaction, clear_sqlite_errors


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
