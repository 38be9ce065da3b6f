"""What can be read from a journal: its prompts and samples, and what graders said of them.

    journal.done()                       # {prompt id: {0, 1, 2}}
    journal.confusion(second_grader)     # {(Verdict.CORRECT, Verdict.WRONG): 12, ...}
    journal.query("SELECT verdict, count(*) FROM graded GROUP BY 1")

`spo_data.run.journal` opens a journal and writes to it.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spo_data.grading.suspects import SuspectRule
from spo_data.grading.verdict import Grade, Verdict
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.provenance import GRADED_MARK, GraderRecord
from spo_data.run.checksums import brief_checksum, sample_checksum, verdict_checksum
from spo_data.run.journal_checks import SAMPLES, Checks, Damage, DamageError, find_damage, read_since
from spo_data.run.journal_rows import (
    MANIFEST_COPY,
    OBSERVED,
    PROMPTS_IN_ORDER,
    SAMPLES_IN_ORDER,
    TRIED,
    manifest_of,
    prompt_of,
    sample_of,
    unpack,
)
from spo_data.run.sample import Sample


class Commit(NamedTuple):
    """A batch of samples that became durable together."""

    call: int
    """The call of `estimate` that drew them, from 1; calls that drew nothing are not counted."""
    time: float
    """Unix time."""
    samples: int
    response_tokens: int
    """Sampled tokens, excluding tool output."""


class JournalQueries:
    """The reading half of `Journal`, which opens the database."""

    path: Path
    grader: GraderRecord
    _db: sqlite3.Connection

    def prompts(self) -> Iterator[Prompt]:
        """The run's prompts, in order."""
        for row in self._db.execute(PROMPTS_IN_ORDER):
            try:
                prompt = prompt_of(row)
            except (ValueError, TypeError) as error:
                raise DamageError(f"{self.path} has a damaged prompt") from error
            yield prompt

    def suspect_rule(self) -> SuspectRule:
        """What makes a ground truth of this run suspect."""
        return SuspectRule(self._db.execute("SELECT data_source, ground_truth FROM prompts"))

    def values(self, grader: GraderRecord, n: int) -> dict[str, float]:
        """The values under a grader, by prompt id, in prompt order, of a run with n samples (see `estimate_value`)."""
        return dict(
            self.query(
                f"SELECT prompt_id, avg(CASE WHEN verdict IN ({OBSERVED}) THEN score END) AS value"
                " FROM prompts JOIN verdicts USING (prompt_number) WHERE grading = ? GROUP BY prompt_number"
                f" HAVING value IS NOT NULL AND NOT sum(verdict = '{Verdict.GOLD_UNPARSEABLE}') AND {TRIED} >= ?"
                " ORDER BY position",
                (self._grading(grader), n),
            )
        )

    def undrawn(self, n: int) -> Iterator[tuple[int, str, int]]:
        """(prompt number, prompt id, samples that are not drawn yet) of the unfinished prompts of a run with n samples.

        A sample that the engine failed to draw, or that the interpreter broke off, was tried. A prompt whose ground
        truth this grader cannot read is not unfinished, since it is drawn no further.
        """
        rows = self.rows(
            f"SELECT prompt_number, prompt_id, ? - {TRIED} AS undrawn FROM prompts WHERE undrawn > 0"
            " AND prompt_number NOT IN (SELECT prompt_number FROM verdicts WHERE grading = ? AND verdict = ?)",
            (n, self._grading(self.grader), Verdict.GOLD_UNPARSEABLE),
        )
        return ((number, prompt_id, count) for number, prompt_id, count in rows)

    def bad_golds(self) -> set[str]:
        """The ids of the prompts whose ground truth this grader could not read."""
        rows = self.query(
            "SELECT DISTINCT prompt_id FROM graded JOIN prompts USING (prompt_number) WHERE verdict = ?",
            (Verdict.GOLD_UNPARSEABLE,),
        )
        return {prompt_id for (prompt_id,) in rows}

    def find_differing(self, other: GraderRecord) -> list[tuple[int, int, Grade, Grade]]:
        """(prompt number, sample index, ours, theirs) of the samples that both graders judged but scored apart."""
        rows = self.query(
            "SELECT prompt_number, sample_index, ours.verdict, ours.score, ours.answer, theirs.verdict, theirs.score,"
            " theirs.answer FROM verdicts AS ours JOIN verdicts AS theirs USING (prompt_number, sample_index)"
            " WHERE ours.grading = ? AND theirs.grading = ? AND ours.score <> theirs.score ORDER BY 1, 2",
            (self._grading(self.grader), self._grading(other)),
        )
        return [
            (number, index, Grade(Verdict(a), b, c), Grade(Verdict(d), e, f))
            for number, index, a, b, c, d, e, f in rows
        ]

    def count_disputed(self, other: GraderRecord) -> dict[str, int]:
        """Samples that both graders judged but scored apart, by prompt id, without prompts that one never judged."""
        rows = self.rows(
            "SELECT prompt_id, sum(ours.score <> theirs.score) FROM verdicts AS ours"
            " JOIN verdicts AS theirs USING (prompt_number, sample_index) JOIN prompts USING (prompt_number)"
            " WHERE ours.grading = ? AND theirs.grading = ? AND ours.score IS NOT NULL AND theirs.score IS NOT NULL"
            " GROUP BY prompt_number",
            (self._grading(self.grader), self._grading(other)),
        )
        return dict(rows)

    def texts(self, column: Literal["prompt_number", "position"], value: int) -> tuple[str, str, str]:
        """Id, first user message and ground truth of the prompt with this number or position."""
        ((prompt_id, messages, ground_truth),) = self.query(
            f"SELECT prompt_id, messages, ground_truth FROM prompts WHERE {column} = ?", (value,)
        )
        return prompt_id, next(content for role, content in json.loads(messages) if role == "user"), ground_truth

    def read_dropped(self) -> list[DroppedRow]:
        """The rows that did not become prompts."""
        rows = self._db.execute("SELECT row, reason, detail FROM dropped ORDER BY row")
        return [DroppedRow(row, reason, detail) for row, reason, detail in rows]

    def commits(self) -> list[Commit]:
        """The batches in which samples were committed, in order; older releases recorded none."""
        rows = self.query("SELECT call, time, samples, response_tokens FROM commits ORDER BY rowid")
        return [Commit(*row) for row in rows]

    def done(self) -> dict[str, set[int]]:
        """The sample indices of each prompt, without those that an interpreter failure ended."""
        done: dict[str, set[int]] = {}
        for prompt_id, indices in self._db.execute(
            "SELECT prompt_id, group_concat(sample_index) FROM samples JOIN prompts USING (prompt_number)"
            " WHERE finish_reason <> 'tool_error' GROUP BY prompt_number"
        ):
            done[prompt_id] = {int(index) for index in indices.split(",")}
        return done

    def find_ungraded(self, grader: GraderRecord | None = None, *, bad_golds: bool = False) -> list[tuple[str, int]]:
        """(prompt id, sample index) of the stored samples that a grader has not judged, or failed to judge.

        Samples that an interpreter failure ended are left out, since they are drawn again. Samples whose ground truth
        could not be parsed would fail again, so they are included only with `bad_golds`.
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

    def count_samples(self) -> tuple[int, int]:
        """How many samples there are, and how many of them no interpreter failure ended: these are never deleted."""
        ((total, whole),) = self.query(
            "SELECT count(*), count(*) FILTER (WHERE finish_reason <> 'tool_error') FROM samples"
        )
        return total, whole

    def count_from(self, n: int) -> int:
        """How many samples that no interpreter failure ended have an index of at least `n`."""
        ((count,),) = self.query(
            "SELECT count(*) FROM samples WHERE finish_reason <> 'tool_error' AND sample_index >= ?", (n,)
        )
        return int(count)

    def count_mended(self) -> int:
        """How many samples mending this journal has left out since the tables were last written."""
        ((count,),) = self.query("SELECT coalesce(sum(samples), 0) FROM mended")
        return int(count)

    def read_manifest(self) -> bytes | None:
        """The copy of `run.json`; None if it is damaged, or if only earlier versions have written to this journal."""
        return manifest_of(self._db.execute(MANIFEST_COPY).fetchone())

    def response(self, prompt_id: str, sample_index: int) -> str:
        """A stored response; raises DamageError if it is damaged."""
        number = self._number(prompt_id)
        ((rowid,),) = self.query(
            "SELECT rowid FROM samples WHERE prompt_number = ? AND sample_index = ?", (number, sample_index)
        )
        ((_, *row),) = self.query(f"{SAMPLES} WHERE rowid = ?", (rowid,))
        checks = Checks({number: prompt_id}, {}, read_since(self._db))
        try:
            if checks.agrees_with_sample((rowid, *row)) and row[:2] == [number, sample_index]:
                return unpack(row[6]).decode()
        except (ValueError, OSError):  # of an earlier version, which wrote no checksum
            pass
        raise DamageError(f"{self.path} has damaged samples, such as sample {sample_index} of {prompt_id}")

    def is_truncated(self, prompt_id: str, sample_index: int) -> bool:
        """Whether a limit ended a stored response."""
        ((reason,),) = self.query(
            "SELECT finish_reason FROM samples WHERE prompt_number = ? AND sample_index = ?",
            (self._number(prompt_id), sample_index),
        )
        return bool(reason == "length")

    def graders(self) -> list[GraderRecord]:
        """All graders that have verdicts in this journal, in the order in which they were added."""
        rows = self.query(
            "SELECT verifier, version, identity FROM gradings"
            " WHERE EXISTS (SELECT 1 FROM verdicts WHERE verdicts.grading = gradings.grading) ORDER BY grading"
        )
        return [
            GraderRecord(verifier=verifier, version=version, truncated="grade" if key.endswith(GRADED_MARK) else "zero")
            for verifier, version, key in rows
        ]

    def confusion(self, other: GraderRecord) -> dict[tuple[Verdict, Verdict], int]:
        """The number of samples by pair of verdicts: this journal's grader's, the other's."""
        rows = self.query(
            "SELECT ours.verdict, theirs.verdict, count(*) FROM verdicts AS ours"
            " JOIN verdicts AS theirs USING (prompt_number, sample_index)"
            " WHERE ours.grading = ? AND theirs.grading = ? GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
            (self._grading(self.grader), self._grading(other)),
        )
        return {(Verdict(ours), Verdict(theirs)): count for ours, theirs, count in rows}

    def samples(self) -> Iterator[Sample]:
        """All samples, by prompt order and sample index; raises DamageError at one that is damaged."""
        checks, (key, version) = Checks.of(self._db), (self.grader.key, self.grader.version)
        for row in self._db.execute(SAMPLES_IN_ORDER):
            prompt_id, index, seed, response, ids, reason, answer, _, score, detail, turns, mask, logprobs = row[:13]
            rowid, tokens, brief, whole, judged, of_verdict = row[13:]
            in_brief = brief_checksum(prompt_id, index, reason, tokens, turns)
            if not (
                rowid <= checks.since
                if brief is whole is None
                else (brief, whole) == (in_brief, sample_checksum(in_brief, seed, response, ids, mask, logprobs))
            ):
                raise DamageError(f"{self.path} has damaged samples, such as sample {index} of {prompt_id}")
            if judged is not None and not checks.agrees(
                of_verdict, verdict_checksum(key, version, prompt_id, index, answer, judged, score, detail)
            ):
                raise DamageError(f"{self.path} has damaged verdicts, such as that on sample {index} of {prompt_id}")
            try:
                sample = sample_of(row)
            except (ValueError, TypeError, OSError) as error:  # of an earlier version, which wrote no checksum
                raise DamageError(f"{self.path} has a damaged sample: {index} of {prompt_id}") from error
            yield sample

    def find_damage(self) -> Damage:
        """Which of the rows that summaries read are damaged."""
        return find_damage(self._db, whole=False)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read with SQL from `prompts`, `graded`, `samples`, `verdicts`, `failures`, `dropped` and `commits`."""
        return list(self.rows(sql, parameters))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Like `query`, but a row at a time: for results with a row for every sample."""
        return self._db.execute(sql, parameters)

    def _number(self, prompt_id: str) -> int:
        row = self._db.execute("SELECT prompt_number FROM prompts WHERE prompt_id = ?", (prompt_id,)).fetchone()
        return int(row[0])

    def _grading(self, grader: GraderRecord) -> int:
        """The number of a grader's verdicts; -1 if it has none."""
        rows = self.query(
            "SELECT grading FROM gradings WHERE identity = ? AND version = ?", (grader.key, grader.version)
        )
        return int(rows[0][0]) if rows else -1
