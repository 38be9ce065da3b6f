"""Read from a damaged journal whatever SQLite can still read of it.

    for row in read_rows(old, SAMPLES):         # also the rows behind a damaged page
        ...

Whether a row is as it was written is another question: `spo_data.run.journal_checks` answers it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from spo_data.run.journal_checks import UNKNOWN, VERDICTS, Checks, in_order, is_damage, read_since
from spo_data.run.journal_rows import MANIFEST_COPY

MOST_ROWS = 2**40
MOST_GRADERS = 16
"""Whose verdicts are looked for if no row says which graders there are."""


def read_rows(old: sqlite3.Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query without a condition that begins with the rowid, without those that SQLite cannot read."""
    first = sql.partition("SELECT ")[2].partition(",")[0]
    last = -1
    while True:
        try:
            for row in old.execute(f"{sql} WHERE {first} > ? ORDER BY {first}", (last,)):
                if row[0] <= last:  # in a damaged tree, rows may come again and again
                    break
                last = row[0]
                yield row
            else:
                return
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        # sqlite3 reads one row ahead, so the row before an unreadable one is found here too.
        if (after := _find_next(old, f"{sql} WHERE {first} >= ? ORDER BY {first} LIMIT 1", last + 1)) is None:
            return
        last = after[0]
        yield after


def read_verdicts(old: sqlite3.Connection, checks: Checks) -> Iterator[tuple[Any, ...]]:
    """The verdicts that SQLite can read: all, or those of each grader and prompt that it can."""
    try:
        yield from in_order(old.execute(VERDICTS), 3)
        return
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    for grading in range(1, 1 + max(MOST_GRADERS, *checks.graders, 0)):
        for number in checks.prompt_ids:
            try:  # those that were read before come again, and are left out by their key
                where = "WHERE grading = ? AND prompt_number = ?"
                yield from in_order(old.execute(f"{VERDICTS} {where}", (grading, number)), 3)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise


def read_manifest(old: sqlite3.Connection) -> tuple[bytes, bytes] | None:
    """The row with the copy of `run.json`; None if there is none, or if SQLite cannot read it."""
    try:
        row: tuple[bytes, bytes] | None = old.execute(MANIFEST_COPY).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return None
    return row


def salvage_since(old: sqlite3.Connection) -> int:
    """The last sample without a checksum, by rowid; UNKNOWN if SQLite cannot read the record."""
    try:
        return read_since(old)
    except sqlite3.Error:
        return UNKNOWN


def is_text(row: Sequence[Any]) -> bool:
    """Whether a row's texts are UTF-8: a row of an earlier version has no checksum that would say so."""
    try:
        return all(value.encode() is not None for value in row if isinstance(value, str))
    except UnicodeEncodeError:
        return False


def _find_next(old: sqlite3.Connection, sql: str, start: int) -> tuple[Any, ...] | None:
    """The first row that can be read from this rowid on."""

    def find(rowid: int) -> tuple[Any, ...] | None:
        """A row, () at the end of the table, or None if it cannot be read."""
        try:
            row: tuple[Any, ...] | None = old.execute(sql, (rowid,)).fetchone()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return None
        return () if row is None else row if row[0] >= rowid else None

    step, found = 0, find(start)
    while found is None and step < MOST_ROWS:
        step = 2 * step or 1
        found = find(start + step)
    low, high = start + step // 2 + 1, start + step
    while low < high:
        middle = (low + high) // 2
        if (tried := find(middle)) is None:
            low = middle + 1
        else:
            high, found = middle, tried
    return found or None
