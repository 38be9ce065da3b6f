"""Which rows of a journal are damaged: they do not agree with their checksum, or SQLite cannot read them.

    damage = find_damage(db, whole=True)        # falsy if there is none
    str(damage)                                 # "2 damaged samples, 1 damaged verdict"

Two checks exist. The brief one reads what summaries read: prompts, graders, verdicts, and of the samples the index
without their responses, which is compared to the other index. The whole one also reads the rows of all samples, and
has SQLite compare every index to its table. Rows that an earlier version wrote have no checksum: of these, only what
SQLite says is known.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import Verdict
from spo_data.run.checksums import (
    brief_checksum,
    checksum,
    commit_checksum,
    prompt_checksum,
    sample_checksum,
    verdict_checksum,
)
from spo_data.run.journal_rows import SAMPLE_COLUMNS, prompt_of

SAMPLES = f"SELECT {SAMPLE_COLUMNS} FROM samples NOT INDEXED"
VERDICTS = "SELECT grading, prompt_number, sample_index, answer, verdict, score, detail, checksum FROM verdicts"
PROMPTS = (
    "SELECT prompt_number, position, prompt_id, messages, ground_truth, data_source, extra_info, checksum"
    " FROM prompts NOT INDEXED"
)
GRADINGS = "SELECT grading, identity, version, verifier, checksum FROM gradings NOT INDEXED"
FAILURES = "SELECT rowid, prompt_number, sample_index, error, checksum FROM failures NOT INDEXED"
DROPPED = "SELECT rowid, row, reason, detail, checksum FROM dropped"
COMMITS = "SELECT rowid, call, time, samples, response_tokens, checksum FROM commits"

_BRIEF = "prompt_number, sample_index, finish_reason, response_tokens, tool_turns, brief_checksum"
_IN_BRIEF = f"SELECT rowid, {_BRIEF} FROM samples INDEXED BY samples_in_brief ORDER BY prompt_number, sample_index"
_KEYS = (
    "SELECT rowid, prompt_number, sample_index FROM samples INDEXED BY sqlite_autoindex_samples_1"
    " ORDER BY prompt_number, sample_index"
)


UNKNOWN = 2**63 - 1
"""Stands for the last sample without a checksum if the journal does not say which it is: any may be without."""
_VERDICTS = frozenset(map(str, Verdict))
_REASONS = frozenset(("stop", "length", "tool_error"))


class DamageError(SpoError):
    """A part of a journal that was to be read is damaged."""


@dataclass(frozen=True)
class Damage:
    """How many rows of a journal are damaged, by kind; falsy if none is."""

    samples: int = 0
    verdicts: int = 0
    prompts: int = 0
    others: int = 0
    """Rows on graders, failures, dropped rows and commits."""
    unreadable: str | None = None
    """What SQLite says, if it cannot read a part."""

    def __bool__(self) -> bool:
        return bool(self.samples or self.verdicts or self.prompts or self.others or self.unreadable)

    def __str__(self) -> str:
        kinds = ((self.samples, "sample"), (self.verdicts, "verdict"), (self.prompts, "prompt"))
        said = [f"{count:,} damaged {name}{'s' * (count > 1)}" for count, name in kinds if count]
        if self.others:
            said.append(f"{self.others:,} damaged rows of other tables" if self.others > 1 else "1 other damaged row")
        if self.unreadable:
            said.append(f"a part that SQLite cannot read ({self.unreadable})")
        return ", ".join(said)


class Checks:
    """What the rows of one journal must agree with: its prompt ids, its graders, and where checksums begin."""

    def __init__(self, prompt_ids: dict[int, str], graders: dict[int, tuple[str, str]], since: int) -> None:
        self.prompt_ids, self.graders = prompt_ids, graders
        self.since = since
        """The last sample without a checksum, by rowid; -1 if no earlier version wrote to the journal."""

    @staticmethod
    def of(db: sqlite3.Connection) -> "Checks":
        """Read them from a journal."""
        prompt_ids = dict(in_order(db.execute("SELECT prompt_number, prompt_id FROM prompts NOT INDEXED")))
        graders = {number: (key, version) for number, key, version, *_ in in_order(db.execute(GRADINGS))}
        return Checks(prompt_ids, graders, read_since(db))

    def agrees(self, found: int | None, computed: int) -> bool:
        """Whether a row agrees with its checksum; rows of an earlier version have none."""
        return found == computed if found is not None else self.since >= 0

    def agrees_with_prompt(self, row: Sequence[Any]) -> bool:
        """Check a row of `PROMPTS`; the id of one without a checksum is that of its messages."""
        content, found = row[2:7], row[7]
        if found is not None:
            return bool(found == prompt_checksum(*content))
        try:
            return self.since >= 0 and prompt_of(content[1:]).prompt_id == content[0]
        except (ValueError, TypeError):
            return False

    def agrees_with_grading(self, row: Sequence[Any]) -> bool:
        """Check a row of `GRADINGS`."""
        return self.agrees(row[4], checksum("grading", *row[1:4]))

    def agrees_in_brief(self, row: Sequence[Any]) -> bool:
        """Check rowid, prompt number, index, finish reason, tokens, turns and their checksum of a sample."""
        rowid, number, index, reason, tokens, turns, found = row
        prompt_id = self.prompt_ids.get(number)
        if prompt_id is None:
            return False
        if found is None:
            return rowid <= self.since and reason in _REASONS
        return bool(found == brief_checksum(prompt_id, index, reason, tokens, turns))

    def agrees_with_sample(self, row: Sequence[Any]) -> bool:
        """Check a row of `SAMPLES`."""
        rowid, number, index, seed, reason, tokens, turns, *blobs, brief, found = row
        if not self.agrees_in_brief((rowid, number, index, reason, tokens, turns, brief)):
            return False
        if found is None or brief is None:
            return found is brief
        return bool(found == sample_checksum(brief, seed, *blobs))

    def agrees_with_verdict(self, row: Sequence[Any]) -> bool:
        """Check a row of `VERDICTS`."""
        grading, number, index, answer, verdict, score, detail, found = row
        prompt_id, grader = self.prompt_ids.get(number), self.graders.get(grading)
        if prompt_id is None or grader is None:
            return False
        if found is None:
            return self.since >= 0 and verdict in _VERDICTS and isinstance(score, float | None)
        return bool(found == verdict_checksum(*grader, prompt_id, index, answer, verdict, score, detail))

    def agrees_with_failure(self, row: Sequence[Any]) -> bool:
        """Check a row of `FAILURES`."""
        _, number, index, error, found = row
        return self.agrees(found, checksum("failure", self.prompt_ids.get(number), index, error))

    def agrees_with_dropped(self, row: Sequence[Any]) -> bool:
        """Check a row of `DROPPED`."""
        return self.agrees(row[4], checksum("dropped", *row[1:4]))

    def agrees_with_commit(self, row: Sequence[Any]) -> bool:
        """Check a row of `COMMITS`."""
        return self.agrees(row[5], commit_checksum(*row[1:5]))


def find_damage(db: sqlite3.Connection, *, whole: bool) -> Damage:
    """Check a journal, briefly or as a whole; raises sqlite3.Error if SQLite cannot read it for another reason."""
    with damaged_texts(db):
        try:
            return _count_damage(db, whole=whole)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return Damage(unreadable=first_line(error))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that a file is damaged: not locked, not a full disk, not of a later version."""
    if isinstance(error, sqlite3.NotSupportedError):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # text that is no UTF-8 has no code
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


@contextmanager
def damaged_texts(db: sqlite3.Connection) -> Iterator[None]:
    """Read text that is no UTF-8 too, for which sqlite3 would end the whole query."""
    before = db.text_factory
    db.text_factory = _read_text
    try:
        yield
    finally:
        db.text_factory = before


def _read_text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def read_since(db: sqlite3.Connection) -> int:
    """The rowid of the last sample without a checksum; as if all had none, if that record is damaged."""
    rows = db.execute("SELECT sample_rowid, checksum FROM checksums_since").fetchall()
    if len(rows) == 1 and rows[0][1] == checksum("since", rows[0][0]):
        return int(rows[0][0])
    return UNKNOWN


def in_order(rows: Iterable[tuple[Any, ...]], width: int = 1) -> Iterator[tuple[Any, ...]]:
    """Rows whose first columns are their key; raises DatabaseError if a damaged tree yields rows again and again."""
    last: tuple[Any, ...] | None = None
    for row in rows:
        try:
            if last is not None and row[:width] <= last:
                raise sqlite3.DatabaseError("rows are out of order")
        except TypeError as error:
            raise sqlite3.DatabaseError("a key is no number") from error
        last = row[:width]
        yield row


def _count_damage(db: sqlite3.Connection, *, whole: bool) -> Damage:
    if whole:
        ((said,),) = db.execute("PRAGMA integrity_check(1)")
        unreadable = None if said == "ok" else said.removeprefix("*** in database main ***").strip().splitlines()[0]
    checks = Checks.of(db)
    others = int(checks.since == UNKNOWN)
    prompts = list(in_order(db.execute(PROMPTS)))
    damaged_prompts = sum(not checks.agrees_with_prompt(row) for row in prompts)
    gradings = list(in_order(db.execute(GRADINGS)))
    others += sum(not checks.agrees_with_grading(row) for row in gradings)
    for sql, agrees in (
        (FAILURES, checks.agrees_with_failure),
        (DROPPED, checks.agrees_with_dropped),
        (COMMITS, checks.agrees_with_commit),
    ):
        others += sum(not agrees(row) for row in in_order(db.execute(sql)))
    verdicts = sum(not checks.agrees_with_verdict(row) for row in in_order(db.execute(VERDICTS), 3))
    samples, disorder = _check_briefly(db, checks)
    if whole:
        samples = max(samples, sum(not checks.agrees_with_sample(row) for row in in_order(db.execute(SAMPLES))))
        disorder = disorder or unreadable
    return Damage(samples, verdicts, damaged_prompts, others, disorder or _check_order(db, prompts, gradings))


def _check_briefly(db: sqlite3.Connection, checks: Checks) -> tuple[int, str | None]:
    """Check what is read of the samples without their responses, and whether both of their indexes say the same."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'samples_in_brief'").fetchone():
        # No writer of this version has opened the journal, so only few rows or none have checksums.
        rows = db.execute(f"SELECT rowid, {_BRIEF} FROM samples WHERE rowid > ?", (checks.since,))
        return sum(not checks.agrees_in_brief(row) for row in rows), None
    damaged, disorder = 0, None
    for row, key in zip_longest(db.execute(_IN_BRIEF), db.execute(_KEYS)):
        if row is None or row[:3] != key:
            disorder = "the indexes of samples differ"
            break
        damaged += not checks.agrees_in_brief(row)
    return damaged, disorder


def _check_order(
    db: sqlite3.Connection, prompts: Sequence[tuple[Any, ...]], gradings: Sequence[tuple[Any, ...]]
) -> str | None:
    """Compare the small indexes to their tables. Prompts have the positions 0, 1, 2, ..."""
    for said, sql, rows in (
        ("an index of prompts differs from its table", _IDS, {(row[2], row[0]) for row in prompts}),
        ("an index of prompts differs from its table", _POSITIONS, {(row[1], row[0]) for row in prompts}),
        ("an index of graders differs from its table", _IDENTITIES, {(*row[1:3], row[0]) for row in gradings}),
    ):
        found = db.execute(sql).fetchall()
        if len(found) != len(rows) or set(found) != rows:
            return said
    positions = {row[1] for row in prompts}
    if all(row[7] is not None for row in prompts) and positions != set(range(len(prompts))):
        return "the order of the prompts is lost"
    return None


_IDS = "SELECT prompt_id, prompt_number FROM prompts INDEXED BY sqlite_autoindex_prompts_1"
_POSITIONS = "SELECT position, prompt_number FROM prompts INDEXED BY prompts_in_order"
_IDENTITIES = "SELECT identity, version, grading FROM gradings INDEXED BY sqlite_autoindex_gradings_1"
