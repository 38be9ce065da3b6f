"""The journal: every finished sample of a run, in one SQLite file, and the source of truth for all else.

    with Journal(Path("runs/demo/journal.sqlite"), manifest.grader) as journal:
        journal.add(sample)          # durable at the next commit, at most a second or 256 samples later

What holds on resume: a sample is in the journal whole or not at all. Commits are SQLite transactions in WAL mode with
`synchronous=FULL`; a process killed inside one leaves a torn WAL tail, which SQLite drops when the file is opened
next. What was lost is at most the last uncommitted batch, and those samples have the same seeds when drawn again.
A sample is identified by (prompt, sample index) and written once: a second one for the same place is a bug and raises.
A response in whose middle the interpreter failed (`tool_error`) is not among the samples that are done. It is kept to
be looked at until the next call begins (`set_prompts`), which draws it again.

What the engine made (`samples`) and what graders said of it (`verdicts`) are two tables. Each grader has its own
verdicts, which stay when another grades the same responses: a journal is opened with the grader whose verdicts are
meant (the manifest's), and the view `graded` shows the samples with those. A sample that this grader has not judged yet
shows as `grader_error`, "not graded yet": no observation, graded by the next call.

Each batch of samples leaves a row in `commits`, in the same transaction: which call of `estimate` it came from, when,
how many samples and sampled tokens. Runs from before that have samples without such rows.

One process writes (the run folder's lock sees to it); others may read meanwhile.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from spo_data.grading.verdict import Graded, Verdict
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.journal_rows import (
    DELETE_BROKEN,
    DELETE_VERDICTS_OF_BROKEN,
    INSERT_COMMIT,
    INSERT_PROMPT,
    INSERT_SAMPLE,
    INSERT_VERDICT,
    OBSERVED,
    PROMPTS_IN_ORDER,
    SAMPLES_IN_ORDER,
    prompt_of,
    prompt_row,
    sample_of,
    sample_row,
    unpack,
    verdict_row,
)
from spo_data.run.journal_tables import GRADED, make_schema
from spo_data.run.sample import Sample
from spo_data.sqlite import Transaction, clear_sqlite_errors

COMMIT_SAMPLES = 256
COMMIT_SECONDS = 0.75
"""With a look every quarter of a second, no sample waits longer than one."""


class Commit(NamedTuple):
    """A batch of samples that became durable together."""

    call: int
    """Which call of `estimate` drew them, from 1; calls that drew nothing are not counted."""
    time: float
    """Unix time."""
    samples: int
    response_tokens: int
    """That the model sampled; the output of tools is none of them."""


@dataclass
class Journal:
    """A run's journal, opened for writing (the default) or reading."""

    path: Path
    grader: GraderRecord
    """Whose verdicts are read and written."""
    read_only: bool = False
    _samples: list[tuple[Sample, dict[GraderRecord, Graded]]] = field(default_factory=list)
    _last_commit: float = field(default_factory=time.monotonic)
    _call: int | None = None
    """Which of the calls that drew samples this is, from its first commit on."""

    def __post_init__(self) -> None:
        # A reader opens read-write all the same: only so can it recover what a killed writer left in the WAL.
        mode = "rw" if self.read_only else "rwc"
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        if not self.read_only:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
        make_schema(self._db, self.grader, for_writing=not self.read_only)
        self._db.execute(GRADED.format(grading=self._grading(self.grader)))
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

    def add(self, sample: Sample, others: Mapping[GraderRecord, Graded] | None = None) -> None:
        """Take a sample, and what other graders say of it; it is committed with its batch, or by `commit_if_due`."""
        self._samples.append((sample, dict(others or {})))
        if len(self._samples) >= COMMIT_SAMPLES:
            self.commit()

    def commit_if_due(self) -> None:
        """Commit if the oldest uncommitted sample may have waited for `COMMIT_SECONDS`."""
        if time.monotonic() - self._last_commit >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make every sample taken so far durable."""
        if self._samples:
            samples = [sample for sample, _ in self._samples]
            numbers = {prompt_id: self._number(prompt_id) for prompt_id in {s.prompt_id for s in samples}}
            gradings = {grader: self._grading(grader) for _, others in self._samples for grader in others}
            gradings[self.grader] = self._grading(self.grader)
            with self._transaction():
                self._db.executemany(INSERT_SAMPLE, (sample_row(s, numbers[s.prompt_id]) for s in samples))
                self._db.executemany(
                    INSERT_VERDICT,
                    (
                        (gradings[grader], numbers[s.prompt_id], s.sample_index, *verdict_row(graded))
                        for s, others in self._samples
                        for grader, graded in ((self.grader, s.graded), *others.items())
                    ),
                )
                self._db.executemany(
                    "DELETE FROM failures WHERE prompt_number = ? AND sample_index = ?",
                    ((numbers[s.prompt_id], s.sample_index) for s in samples),
                )
                call = self._call or self.query("SELECT coalesce(max(call) + 1, 1) FROM commits")[0][0]
                self._db.execute(INSERT_COMMIT, (call, len(samples), sum(s.sampled_tokens for s in samples)))
            self._samples, self._call = [], call
        self._last_commit = time.monotonic()

    def add_failure(self, prompt_id: str, sample_index: int, error: str) -> None:
        """Record that a sample could not be drawn; drawing it later removes the record."""
        self._db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (self._number(prompt_id), sample_index, error)
        )

    def regrade(self, verdicts: Iterable[tuple[str, int, Graded]], grader: GraderRecord | None = None) -> None:
        """Set a grader's verdicts on stored samples, (prompt id, sample index, verdict) each, all or none."""
        grading = self._grading(grader or self.grader)
        with self._transaction():
            self._db.executemany(
                INSERT_VERDICT,
                ((grading, self._number(pid), index, *verdict_row(graded)) for pid, index, graded in verdicts),
            )

    def mark_unfinished(self, grader: GraderRecord | None = None) -> None:
        """Give the samples that a limit or the interpreter's failure ended their verdict, which is no grader's."""
        for reason, verdict, score in (("length", Verdict.TRUNCATED, 0.0), ("tool_error", Verdict.TOOL_ERROR, None)):
            self._db.execute(
                "INSERT OR IGNORE INTO verdicts SELECT ?, prompt_number, sample_index, NULL, ?, ?, (SELECT max(detail)"
                " FROM verdicts AS others WHERE finish_reason = 'tool_error'"
                " AND others.grading IN (SELECT grading FROM gradings)"
                " AND others.prompt_number = samples.prompt_number AND others.sample_index = samples.sample_index"
                " AND others.verdict = 'tool_error') FROM samples WHERE finish_reason = ?",
                (self._grading(grader or self.grader), verdict, score, reason),
            )

    def set_prompts(self, prompts: Sequence[Prompt], dropped: Iterable[DroppedRow]) -> None:
        """Store the prompts of the call that begins, in their order, and the rows that it dropped.

        Prompts that have samples stay. The others are replaced. The failures go, and so do the responses that the
        interpreter broke off: this call tries them again, or no longer wants them. Without a sample, no commit stays.
        """
        with self._transaction():
            self._db.execute("DELETE FROM failures")
            self._db.execute(DELETE_VERDICTS_OF_BROKEN)
            self._db.execute(DELETE_BROKEN)
            self._db.execute("DELETE FROM commits WHERE NOT EXISTS (SELECT 1 FROM samples)")
            self._db.execute("DELETE FROM prompts WHERE prompt_number NOT IN (SELECT prompt_number FROM samples)")
            self._db.executemany(
                INSERT_PROMPT,
                ((position, *prompt_row(prompt)) for position, prompt in enumerate(prompts)),
            )
            self._db.execute("DELETE FROM dropped")
            self._db.executemany(
                "INSERT INTO dropped VALUES (?, ?, ?)", ((drop.row, drop.reason, drop.detail) for drop in dropped)
            )

    def prompts(self) -> Iterator[Prompt]:
        """The run's prompts, in order."""
        return map(prompt_of, self._db.execute(PROMPTS_IN_ORDER))

    def values(self, grader: GraderRecord) -> dict[str, float]:
        """The value of each prompt that has one under a grader, by prompt id, in prompt order; see `prompt_value`."""
        return dict(
            self.query(
                f"SELECT prompt_id, avg(CASE WHEN verdict IN ({OBSERVED}) THEN score END) AS value"
                " FROM prompts JOIN verdicts USING (prompt_number) WHERE grading = ? GROUP BY prompt_number"
                f" HAVING value IS NOT NULL AND NOT sum(verdict = '{Verdict.GOLD_UNPARSEABLE}') ORDER BY position",
                (self._grading(grader),),
            )
        )

    def bad_golds(self) -> set[str]:
        """The ids of the prompts whose ground truth this grader could not read."""
        rows = self.query(
            "SELECT DISTINCT prompt_id FROM graded JOIN prompts USING (prompt_number) WHERE verdict = ?",
            (Verdict.GOLD_UNPARSEABLE,),
        )
        return {prompt_id for (prompt_id,) in rows}

    def differing(self, other: GraderRecord) -> list[tuple[int, int, Graded, Graded]]:
        """(prompt number, sample index, ours, theirs) of the samples that both judged and scored differently."""
        rows = self.query(
            "SELECT prompt_number, sample_index, ours.verdict, ours.score, ours.answer, theirs.verdict, theirs.score,"
            " theirs.answer FROM verdicts AS ours JOIN verdicts AS theirs USING (prompt_number, sample_index)"
            " WHERE ours.grading = ? AND theirs.grading = ? AND ours.score <> theirs.score ORDER BY 1, 2",
            (self._grading(self.grader), self._grading(other)),
        )
        return [
            (number, index, Graded(Verdict(a), b, c), Graded(Verdict(d), e, f))
            for number, index, a, b, c, d, e, f in rows
        ]

    def dropped(self) -> list[DroppedRow]:
        """The rows that did not become prompts."""
        rows = self._db.execute("SELECT row, reason, detail FROM dropped ORDER BY row")
        return [DroppedRow(row, reason, detail) for row, reason, detail in rows]

    def commits(self) -> list[Commit]:
        """The batches in which the samples came, in order; none of calls before the journal recorded them."""
        rows = self.query("SELECT call, time, samples, response_tokens FROM commits ORDER BY rowid")
        return [Commit(*row) for row in rows]

    def done(self) -> dict[str, set[int]]:
        """The sample indices that each prompt has, without those that the interpreter broke off."""
        done: dict[str, set[int]] = {}
        for prompt_id, indices in self._db.execute(
            "SELECT prompt_id, group_concat(sample_index) FROM samples JOIN prompts USING (prompt_number)"
            " WHERE finish_reason <> 'tool_error' GROUP BY prompt_number"
        ):
            done[prompt_id] = {int(index) for index in indices.split(",")}
        return done

    def ungraded(self, grader: GraderRecord | None = None, *, bad_golds: bool = False) -> list[tuple[str, int]]:
        """(prompt id, sample index) of the stored samples that a grader has not judged, or failed to.

        Those that the interpreter broke off are not among them: they are drawn again.
        Those that failed for their ground truth fail again, and are among them only where that is asked for.
        """
        settled = OBSERVED if bad_golds else f"{OBSERVED}, '{Verdict.GOLD_UNPARSEABLE}'"
        return self.query(
            "SELECT prompt_id, samples.sample_index FROM prompts CROSS JOIN samples USING (prompt_number)"
            " LEFT JOIN verdicts ON grading = ? AND verdicts.prompt_number = samples.prompt_number"
            " AND verdicts.sample_index = samples.sample_index"
            f" WHERE finish_reason <> 'tool_error' AND (verdict IS NULL OR verdict NOT IN ({settled}))"
            " ORDER BY position, samples.sample_index",
            (self._grading(grader or self.grader),),
        )

    def response(self, prompt_id: str, sample_index: int) -> str:
        """A stored response."""
        ((response,),) = self.query(
            "SELECT response FROM samples WHERE prompt_number = ? AND sample_index = ?",
            (self._number(prompt_id), sample_index),
        )
        return unpack(response).decode()

    def graders(self) -> list[GraderRecord]:
        """All graders that have verdicts here, the first one first."""
        rows = self.query(
            "SELECT verifier, version FROM gradings"
            " WHERE EXISTS (SELECT 1 FROM verdicts WHERE verdicts.grading = gradings.grading) ORDER BY grading"
        )
        return [GraderRecord(verifier=verifier, version=version) for verifier, version in rows]

    def confusion(self, other: GraderRecord) -> dict[tuple[Verdict, Verdict], int]:
        """How many samples have which verdict of this journal's grader and which of another's."""
        rows = self.query(
            "SELECT ours.verdict, theirs.verdict, count(*) FROM verdicts AS ours"
            " JOIN verdicts AS theirs USING (prompt_number, sample_index)"
            " WHERE ours.grading = ? AND theirs.grading = ? GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
            (self._grading(self.grader), self._grading(other)),
        )
        return {(Verdict(ours), Verdict(theirs)): count for ours, theirs, count in rows}

    def samples(self) -> Iterator[Sample]:
        """All samples, by prompt order and sample index."""
        return map(sample_of, self._db.execute(SAMPLES_IN_ORDER))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read with SQL over `prompts`, `graded`, `samples`, `verdicts`, `failures`, `dropped` and `commits`."""
        return list(self.rows(sql, parameters))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """As `query`, a row at a time: for what has a row a sample."""
        return self._db.execute(sql, parameters)

    def _number(self, prompt_id: str) -> int:
        row = self._db.execute("SELECT prompt_number FROM prompts WHERE prompt_id = ?", (prompt_id,)).fetchone()
        return int(row[0])

    def _grading(self, grader: GraderRecord) -> int:
        """The number of a grader's verdicts; -1 where there are none and none can be written."""
        key = (grader.identity, grader.version)
        sql = "SELECT grading FROM gradings WHERE identity = ? AND version = ?"
        rows = self.query(sql, key)
        if not rows and not self.read_only:
            self._db.execute(
                "INSERT INTO gradings (identity, version, verifier) VALUES (?, ?, ?)", (*key, grader.verifier)
            )
            rows = self.query(sql, key)
        return int(rows[0][0]) if rows else -1

    def _transaction(self) -> Transaction:
        return Transaction(self._db)


@contextmanager
def open_journal(path: Path, grader: GraderRecord) -> Iterator[Journal]:
    """A journal opened to read; raises SpoError in one line where it cannot be read."""
    with clear_sqlite_errors(path, "read"), Journal(path, grader, read_only=True) as journal:
        yield journal
