"""The journal: every finished sample of a run, in one SQLite file, and the source of truth for all else.

    with Journal(Path("runs/demo/journal.sqlite")) as journal:
        journal.add(sample)          # durable at the next commit, at most a second or 256 samples later

What holds on resume: a sample is in the journal whole or not at all. Commits are SQLite transactions in WAL mode with
`synchronous=FULL`; a process killed inside one leaves a torn WAL tail, which SQLite drops when the file is opened
next. What was lost is at most the last uncommitted batch, and those samples have the same seeds when drawn again.
A sample is identified by (prompt, sample index) and written once: a second one for the same place is a bug and raises.

One process writes (the run folder's lock sees to it); others may read meanwhile.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from spo_data.engine import Completion
from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import OBSERVATIONS, Graded, Verdict
from spo_data.prompt import Message, Prompt
from spo_data.prompt_set import Dropped

COMMIT_SAMPLES = 256
COMMIT_SECONDS = 0.75
"""With a look every quarter of a second, no sample waits longer than one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished and graded response."""

    prompt_id: str
    sample_index: int
    seed: int
    response: str
    token_ids: np.ndarray
    """int32, shape (n_response_tokens,)."""
    finish_reason: Literal["stop", "length"]
    answer: str | None
    verdict: Verdict
    score: float | None
    detail: str | None = None
    tool_turns: int = 0
    token_logprobs: np.ndarray | None = None
    """float32, shape (n_response_tokens,)."""

    @staticmethod
    def of(prompt_id: str, sample_index: int, seed: int, completion: Completion, graded: Graded) -> "Sample":
        """Put together what the engine and the grader said."""
        return Sample(
            prompt_id=prompt_id,
            sample_index=sample_index,
            seed=seed,
            response=completion.text,
            token_ids=completion.token_ids,
            finish_reason=completion.finish_reason,
            answer=graded.answer,
            verdict=graded.verdict,
            score=graded.score,
            detail=graded.detail,
            token_logprobs=completion.token_logprobs,
        )


@dataclass
class Journal:
    """A run's journal, opened for writing (the default) or reading."""

    path: Path
    read_only: bool = False
    _samples: list[Sample] = field(default_factory=list)
    _last_commit: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        # A reader opens read-write all the same: only so can it recover what a killed writer left in the WAL.
        mode = "rw" if self.read_only else "rwc"
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        if not self.read_only:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
        if not self.query("SELECT 1 FROM sqlite_master WHERE name = 'dropped'"):  # the last table of the schema
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        if self.read_only:
            self._db.execute("PRAGMA query_only=ON")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.read_only and not isinstance(error, sqlite3.Error):
                self.commit()
        finally:
            self._db.close()

    def add(self, sample: Sample) -> None:
        """Take a sample; it is committed with its batch, or by `commit_if_due`."""
        self._samples.append(sample)
        if len(self._samples) >= COMMIT_SAMPLES:
            self.commit()

    def commit_if_due(self) -> None:
        """Commit if the oldest uncommitted sample may have waited for `COMMIT_SECONDS`."""
        if time.monotonic() - self._last_commit >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make every sample taken so far durable."""
        if self._samples:
            numbers = {prompt_id: self._number(prompt_id) for prompt_id in {s.prompt_id for s in self._samples}}
            with self._transaction():
                self._db.executemany(_INSERT_SAMPLE, (_packed(s, numbers[s.prompt_id]) for s in self._samples))
                self._db.executemany(
                    "DELETE FROM failures WHERE prompt_number = ? AND sample_index = ?",
                    ((numbers[s.prompt_id], s.sample_index) for s in self._samples),
                )
            self._samples = []
        self._last_commit = time.monotonic()

    def add_failure(self, prompt_id: str, sample_index: int, error: str) -> None:
        """Record that a sample could not be drawn; drawing it later removes the record."""
        self._db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (self._number(prompt_id), sample_index, error)
        )

    def regrade(self, prompt_id: str, sample_index: int, graded: Graded) -> None:
        """Replace the verdict of a stored sample that we had failed to grade."""
        self._db.execute(
            "UPDATE samples SET answer = ?, verdict = ?, score = ?, detail = ?"
            " WHERE prompt_number = ? AND sample_index = ?",
            (graded.answer, graded.verdict, graded.score, graded.detail, self._number(prompt_id), sample_index),
        )

    def set_prompts(self, prompts: Sequence[Prompt], dropped: Iterable[Dropped]) -> None:
        """Store the prompts of the call that begins, in their order, and the rows that it dropped.

        Prompts that have samples stay. The others are replaced, and so are the failures: this call tries them again.
        """
        with self._transaction():
            self._db.execute("DELETE FROM failures")
            self._db.execute("DELETE FROM prompts WHERE prompt_number NOT IN (SELECT prompt_number FROM samples)")
            self._db.executemany(
                "INSERT INTO prompts (position, prompt_id, messages, ground_truth, data_source, task)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (prompt_id) DO UPDATE SET position = excluded.position",
                ((position, *_packed_prompt(prompt)) for position, prompt in enumerate(prompts)),
            )
            self._db.execute("DELETE FROM dropped")
            self._db.executemany(
                "INSERT INTO dropped VALUES (?, ?, ?)", ((drop.row, drop.reason, drop.detail) for drop in dropped)
            )

    def prompts(self) -> Iterator[Prompt]:
        """The run's prompts, in order."""
        rows = self._db.execute("SELECT messages, ground_truth, data_source, task FROM prompts ORDER BY position")
        for messages, ground_truth, data_source, task in rows:
            yield Prompt(
                tuple(Message(role, content) for role, content in json.loads(messages)),
                ground_truth,
                data_source,
                json.loads(task) if task else None,
            )

    def dropped(self) -> list[Dropped]:
        """The rows that did not become prompts."""
        rows = self._db.execute("SELECT row, reason, detail FROM dropped ORDER BY row")
        return [Dropped(row, reason, detail) for row, reason, detail in rows]

    def done(self) -> dict[str, set[int]]:
        """The sample indices that each prompt has."""
        done: dict[str, set[int]] = {}
        for prompt_id, indices in self._db.execute(
            "SELECT prompt_id, group_concat(sample_index) FROM samples JOIN prompts USING (prompt_number)"
            " GROUP BY prompt_number"
        ):
            done[prompt_id] = {int(index) for index in indices.split(",")}
        return done

    def ungraded(self) -> list[tuple[str, int, str]]:
        """(prompt id, sample index, response) of the stored samples that we failed to grade."""
        rows = self._db.execute(
            "SELECT prompt_id, sample_index, response FROM samples JOIN prompts USING (prompt_number)"
            f" WHERE verdict NOT IN ({_OBSERVED}) ORDER BY position, sample_index"
        )
        return [(prompt_id, index, _unpack(response).decode()) for prompt_id, index, response in rows]

    def samples(self) -> Iterator[Sample]:
        """All samples, by prompt order and sample index."""
        rows = self._db.execute(SAMPLES_IN_ORDER)
        for prompt_id, index, seed, response, ids, reason, answer, verdict, score, detail, turns, logprobs in rows:
            yield Sample(
                prompt_id=prompt_id,
                sample_index=index,
                seed=seed,
                response=_unpack(response).decode(),
                token_ids=np.frombuffer(_unpack(ids), dtype="<i4"),
                finish_reason=reason,
                answer=answer,
                verdict=Verdict(verdict),
                score=score,
                detail=detail,
                tool_turns=turns,
                token_logprobs=None if logprobs is None else np.frombuffer(_unpack(logprobs), dtype="<f4"),
            )

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read with SQL over `prompts`, `samples`, `failures` and `dropped`."""
        return self._db.execute(sql, parameters).fetchall()

    def _number(self, prompt_id: str) -> int:
        row = self._db.execute("SELECT prompt_number FROM prompts WHERE prompt_id = ?", (prompt_id,)).fetchone()
        return int(row[0])

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


@contextmanager
def reading(path: Path) -> Iterator[Journal]:
    """A journal opened to read; raises SpoError in one line where it cannot be read."""
    try:
        with Journal(path, read_only=True) as journal:
            yield journal
    except sqlite3.Error as error:
        raise SpoError(f"{path} cannot be read: {first_line(error)}") from error


class _Transaction:
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
            if self._db.in_transaction:  # SQLite has rolled back by itself where the disk is full
                self._db.execute("ROLLBACK")


# CROSS JOIN makes prompts the outer loop: sorting the samples would copy every response into a temporary file.
SAMPLES_IN_ORDER = """
SELECT prompt_id, sample_index, seed, response, token_ids, finish_reason, answer, verdict, score, detail, tool_turns,
    token_logprobs
FROM prompts CROSS JOIN samples USING (prompt_number) ORDER BY position, prompt_number, sample_index
"""

_OBSERVED = ", ".join(f"'{verdict}'" for verdict in sorted(OBSERVATIONS))

_SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (
    prompt_number INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    prompt_id TEXT NOT NULL UNIQUE,
    messages TEXT NOT NULL,
    ground_truth TEXT NOT NULL,
    data_source TEXT NOT NULL,
    task TEXT
);
CREATE INDEX IF NOT EXISTS prompts_in_order ON prompts (position, prompt_number);
CREATE TABLE IF NOT EXISTS samples (
    prompt_number INTEGER NOT NULL REFERENCES prompts,
    sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    response_tokens INTEGER NOT NULL,
    tool_turns INTEGER NOT NULL,
    answer TEXT,
    verdict TEXT NOT NULL,
    score REAL,
    detail TEXT,
    response BLOB NOT NULL,
    token_ids BLOB NOT NULL,
    token_logprobs BLOB,
    UNIQUE (prompt_number, sample_index)
);
CREATE TABLE IF NOT EXISTS failures (
    prompt_number INTEGER NOT NULL REFERENCES prompts,
    sample_index INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (prompt_number, sample_index)
);
CREATE TABLE IF NOT EXISTS dropped (row INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL);
"""

_INSERT_SAMPLE = """
INSERT INTO samples (prompt_number, sample_index, seed, finish_reason, response_tokens, tool_turns, answer, verdict,
    score, detail, response, token_ids, token_logprobs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _packed(sample: Sample, prompt_number: int) -> tuple[Any, ...]:
    logprobs = sample.token_logprobs
    return (
        prompt_number,
        sample.sample_index,
        sample.seed,
        sample.finish_reason,
        len(sample.token_ids),
        sample.tool_turns,
        sample.answer,
        sample.verdict,
        sample.score,
        sample.detail,
        _pack(sample.response.encode(errors="replace")),  # a lone surrogate is no text
        _pack(sample.token_ids.astype("<i4").tobytes()),
        None if logprobs is None else _pack(logprobs.astype("<f4").tobytes()),
    )


def _packed_prompt(prompt: Prompt) -> tuple[str, str, str, str, str | None]:
    messages = json.dumps([list(message) for message in prompt.messages], ensure_ascii=False)
    task = None if prompt.task is None else json.dumps(prompt.task, sort_keys=True)
    return prompt.prompt_id, messages, prompt.ground_truth, prompt.data_source, task


def _pack(data: bytes) -> bytes:
    """zstd, behind the plain length in four bytes: a full run holds gigabytes of token ids."""
    import pyarrow as pa

    return len(data).to_bytes(4, "little") + bytes(pa.compress(data, codec="zstd", asbytes=True))


def _unpack(blob: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.decompress(blob[4:], int.from_bytes(blob[:4], "little"), codec="zstd", asbytes=True))
