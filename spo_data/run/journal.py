"""The journal: every finished sample of a run, in one SQLite file, the source of truth for everything else.

    with Journal(Path("runs/demo/journal.sqlite"), manifest.grader) as journal:
        journal.add(sample)          # durable at the next commit, at most a second or 256 samples later

After a crash, a sample is in the journal whole or not at all. Commits are SQLite transactions in WAL mode with
`synchronous=FULL`. A process killed inside one leaves a torn WAL tail, which SQLite drops when the file is next opened.
At most the last uncommitted batch is lost, and its samples get the same seeds when they are drawn again.
A sample is identified by (prompt, sample index) and written once: a second one with the same key is a bug and raises.
A response during which the interpreter failed (`tool_error`) does not count as done. It is kept for inspection until
the next call begins (`set_prompts`), which draws it again.

The engine's output (`samples`) and the graders' verdicts on it (`verdicts`) are two tables. Each grader has its own
verdicts, which stay when another grades the same responses. A journal is opened with one grader (the manifest's), and
the view `graded` shows the samples with its verdicts. A sample that this grader has not judged yet has the verdict
`grader_error` there, with the detail "not graded yet": it is no observation, and the next call grades it.

Each batch of samples adds a row to `commits` in the same transaction: the call of `estimate` it came from, the time,
and the numbers of samples and sampled tokens. Samples of runs that are older than this table have no such rows.

Every row has a checksum (`spo_data.run.checksums`). What a reader reads is checked (`journal_checks`), and a writer
first replaces a damaged journal by its sound rows (`journal_mend`).

One process writes, which the run folder's lock ensures; others may read meanwhile. A reader takes the lock only to
upgrade a journal of an earlier schema.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from spo_data.errors import UserError, first_line
from spo_data.files import folder_lock
from spo_data.grading.verdict import Grade, Verdict
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.checksums import checksum, commit_checksum, prompt_checksum, verdict_checksum
from spo_data.run.journal_checks import DamageError, is_damage
from spo_data.run.journal_queries import JournalQueries
from spo_data.run.journal_rows import (
    DELETE_BROKEN,
    DELETE_VERDICTS_OF_BROKEN,
    GIVE_PROMPTS_CHECKSUMS,
    INSERT_COMMIT,
    INSERT_MANIFEST,
    INSERT_PROMPT,
    INSERT_SAMPLE,
    INSERT_VERDICT,
    MARK_CUT_SHORT,
    grading_row,
    manifest_row,
    prompt_row,
    sample_row,
    verdict_row,
)
from spo_data.run.journal_tables import GRADED, make_schema, needs_upgrade
from spo_data.run.sample import Sample
from spo_data.sqlite import Transaction, clear_sqlite_errors

COMMIT_SAMPLES = 256
"""A batch of this many samples is committed at once."""
COMMIT_SECONDS = 0.75
"""The writer checks every quarter of a second, so no sample waits longer than one second."""


@dataclass
class Journal(JournalQueries):
    """A run's journal, opened for writing (the default) or reading."""

    path: Path
    grader: GraderRecord
    """The grader whose verdicts are read and written."""
    read_only: bool = False
    locked: bool = False
    """Whether a reader's caller holds the folder's lock; a writer's does."""
    _samples: list[tuple[Sample, dict[GraderRecord, Grade]]] = field(default_factory=list)
    _last_commit: float = field(default_factory=time.monotonic)
    _call: int | None = None
    """The number of this call among those that drew samples, set at its first commit."""

    def __post_init__(self) -> None:
        # A reader opens read-write too: only then can it recover what a killed writer left in the WAL.
        mode = "rw" if self.read_only else "rwc"
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        if not self.read_only:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
        for function in (commit_checksum, prompt_checksum, verdict_checksum):
            self._db.create_function(function.__name__, -1, function, deterministic=True)
        if self.read_only and not self.locked and needs_upgrade(self._db):
            self._upgrade()
        else:
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

    def add(self, sample: Sample, others: Mapping[GraderRecord, Grade] | None = None) -> None:
        """Take a sample and other graders' verdicts on it; it is committed with its batch, or by `commit_if_due`."""
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
                        (
                            *(gradings[grader], numbers[s.prompt_id], s.sample_index),
                            *verdict_row(grader, s.prompt_id, s.sample_index, graded),
                        )
                        for s, others in self._samples
                        for grader, graded in ((self.grader, s.graded), *others.items())
                    ),
                )
                self._db.executemany(
                    "DELETE FROM failures WHERE prompt_number = ? AND sample_index = ?",
                    ((numbers[s.prompt_id], s.sample_index) for s in samples),
                )
                call = self._call or self.query("SELECT coalesce(max(call) + 1, 1) FROM commits")[0][0]
                tokens = sum(s.sampled_tokens for s in samples)
                self._db.execute(INSERT_COMMIT, {"call": call, "samples": len(samples), "tokens": tokens})
            self._samples, self._call = [], call
        self._last_commit = time.monotonic()

    def add_failure(self, prompt_id: str, sample_index: int, error: str) -> None:
        """Record that a sample could not be drawn; drawing it later removes the record."""
        self._db.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)",
            (self._number(prompt_id), sample_index, error, checksum("failure", prompt_id, sample_index, error)),
        )

    def regrade(self, verdicts: Iterable[tuple[str, int, Grade]], grader: GraderRecord | None = None) -> None:
        """Set a grader's verdicts on stored samples, each (prompt id, sample index, verdict), all or none."""
        grader = grader or self.grader
        grading = self._grading(grader)
        with self._transaction():
            self._db.executemany(
                INSERT_VERDICT,
                (
                    (grading, self._number(prompt_id), index, *verdict_row(grader, prompt_id, index, graded))
                    for prompt_id, index, graded in verdicts
                ),
            )

    def mark_cut_short(self, grader: GraderRecord | None = None) -> None:
        """Set the verdicts that need no grading: of samples ended by an interpreter failure, or by the token limit.

        A grader that grades truncated responses gets no verdict on these.
        """
        grader = grader or self.grader
        unfinished: list[tuple[str, Verdict, float | None]] = [("tool_error", Verdict.TOOL_ERROR, None)]
        if grader.truncated == "zero":
            unfinished.append(("length", Verdict.TRUNCATED, 0.0))
        for reason, verdict, score in unfinished:
            given = {"grading": self._grading(grader), "key": grader.key, "version": grader.version}
            self._db.execute(MARK_CUT_SHORT, {**given, "verdict": str(verdict), "score": score, "reason": reason})

    def set_prompts(self, prompts: Sequence[Prompt], dropped: Iterable[DroppedRow]) -> None:
        """Store the prompts of a call that begins, in their order, and the rows that it dropped.

        Prompts that have samples stay, the others are replaced. Failures and responses that an interpreter failure
        ended are deleted: this call tries them again or no longer needs them. If no sample is left, commits are
        deleted too.
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
            self._db.execute(GIVE_PROMPTS_CHECKSUMS)
            self._db.execute("DELETE FROM dropped")
            rows = ((drop.row, drop.reason, drop.detail) for drop in dropped)
            self._db.executemany(
                "INSERT INTO dropped VALUES (?, ?, ?, ?)", ((*row, checksum("dropped", *row)) for row in rows)
            )

    def keep_manifest(self, text: str, *, counted: bool = False) -> None:
        """Keep a copy of `run.json`, in the place of the one before.

        If it is `counted`, the run folder counts the journal as it is: no samples are left out by mending any more.
        """
        with self._transaction() if counted else nullcontext():
            self._db.execute(INSERT_MANIFEST, manifest_row(text))
            if counted:
                self._db.execute("DELETE FROM mended")

    def _grading(self, grader: GraderRecord) -> int:
        """The number of a grader's verdicts, made if it has none; -1 if it has none and the journal is read-only."""
        grading = super()._grading(grader)
        if grading >= 0 or self.read_only:
            return grading
        self._db.execute(
            "INSERT INTO gradings (identity, version, verifier, checksum) VALUES (?, ?, ?, ?)",
            grading_row(grader),
        )
        return super()._grading(grader)

    def _upgrade(self) -> None:
        """Upgrade a journal of an earlier schema; raises UserError if another process is writing to it."""
        try:
            with folder_lock(self.path.parent, "spo-data"):
                make_schema(self._db, self.grader, for_writing=False)
        except UserError as error:
            why = str(error).removeprefix("--out ")
            raise UserError(f"{self.path} is of an earlier version and must be upgraded to be read: {why}") from error

    def _transaction(self) -> Transaction:
        return Transaction(self._db)


@contextmanager
def open_journal(path: Path, grader: GraderRecord, *, check: bool = True, locked: bool = False) -> Iterator[Journal]:
    """Open a journal for reading; raises a one-line SpoError if it cannot be read, DamageError if it is damaged.

    What summaries read is checked before, unless `check` is false. Samples are checked when they are read. `locked`
    says that the caller holds the folder's lock.
    """
    with clear_sqlite_errors(path, "read"):
        try:
            with Journal(path, grader, read_only=True, locked=locked) as journal:
                if check and (damage := journal.find_damage()):
                    raise DamageError(f"{path} has {damage}")
                yield journal
        except sqlite3.Error as error:
            if is_damage(error):
                raise DamageError(f"{path} cannot be read: {first_line(error)}") from error
            raise
