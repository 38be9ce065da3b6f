"""The journal keeps what was added, complete and in order, whatever kills the writer."""

import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spo_data.engines.protocol import Completion
from spo_data.errors import SpoError
from spo_data.grading.verdict import OBSERVATIONS, Grade, Verdict
from spo_data.options import ToolOptions
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.provenance import ToolsRecord
from spo_data.run import journal_rows
from spo_data.run.journal import COMMIT_SAMPLES, Journal, open_journal
from spo_data.run.journal_mend import mend_journal
from spo_data.run.journal_tables import SCHEMA_VERSION
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from support.records import GRADER, make_manifest

TEXT = st.text() | st.sampled_from(["", "\0", "a\0b", "日本語 🙂", "\r\n", "\u2028"])


def make_prompts(n: int) -> list[Prompt]:
    return [Prompt((Message("user", f"What is {k} + {k}?"),), str(2 * k), "sums") for k in range(n)]


def make_sample(prompt: Prompt, index: int = 0, **fields: Any) -> Sample:
    sample = Sample(
        prompt_id=prompt.prompt_id,
        sample_index=index,
        seed=7,
        response=f"response {index}",
        token_ids=np.arange(3, dtype=np.int32),
        finish_reason="stop",
        answer="4",
        verdict=Verdict.CORRECT,
        score=1.0,
    )
    return replace(sample, **fields)


def plain(sample: Sample) -> tuple[Any, ...]:
    """The sample as a tuple that `==` can compare. Arrays become bytes, so NaN equals itself."""
    logprobs = sample.token_logprobs
    return (
        *(sample.prompt_id, sample.sample_index, sample.seed, sample.response, sample.token_ids.tobytes()),
        *(sample.token_ids.dtype.str, sample.finish_reason, sample.answer, sample.verdict, sample.score),
        *(sample.detail, sample.tool_turns),
        None if logprobs is None else (logprobs.dtype.str, logprobs.tobytes()),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal(path, GRADER) as journal:
        journal.set_prompts(make_prompts(4), [])
        yield journal


def committed(path: Path) -> int:
    with Journal(path, GRADER, read_only=True) as reader:
        ((count,),) = reader.query("SELECT count(*) FROM samples")
        return int(count)


@st.composite
def samples(draw: st.DrawFn, prompt_id: str = "", index: int = 0) -> Sample:
    token_ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=8))
    logprobs = draw(
        st.none() | st.lists(st.floats(width=32), min_size=len(token_ids), max_size=len(token_ids)),
    )
    return Sample(
        prompt_id=prompt_id,
        sample_index=index,
        seed=draw(st.integers(0, 2**63 - 1)),
        response=draw(TEXT),
        token_ids=np.array(token_ids, dtype=np.int32),
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        answer=draw(st.none() | TEXT),
        verdict=draw(st.sampled_from(list(Verdict))),
        score=draw(st.none() | st.floats(0, 1)),
        detail=draw(st.none() | TEXT),
        tool_turns=draw(st.integers(0, 50)),
        token_logprobs=None if logprobs is None else np.array(logprobs, dtype=np.float32),
    )


PROMPTS = make_prompts(8)


class JournalMachine(RuleBasedStateMachine):
    """Any order of additions, commits, failures, regradings, new prompts, damage, reopenings, against a plain model."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "journal.sqlite"
        self.journal = Journal(self.path, GRADER)
        self.order = PROMPTS[:2]
        self.journal.set_prompts(self.order, [])
        self.samples: dict[tuple[str, int], Sample] = {}
        self.failures: dict[tuple[str, int], str] = {}

    @rule(data=st.data(), which=st.integers(0, 7), index=st.integers(0, 3))
    def add(self, data: st.DataObject, which: int, index: int) -> None:
        prompt = self.order[which % len(self.order)]
        key = prompt.prompt_id, index
        if key not in self.samples:
            sample = data.draw(samples(*key))
            self.journal.add(sample)
            self.samples[key] = sample
            self.failures.pop(key, None)

    @rule(which=st.integers(0, 7), index=st.integers(0, 3), error=TEXT)
    def fail(self, which: int, index: int, error: str) -> None:
        key = self.order[which % len(self.order)].prompt_id, index
        if key not in self.samples:
            self.journal.add_failure(*key, error)
            self.failures[key] = error

    @rule(which=st.integers(0, 100), verdict=st.sampled_from(list(Verdict)), answer=st.none() | TEXT)
    def regrade(self, which: int, verdict: Verdict, answer: str | None) -> None:
        self.journal.commit()
        ungraded = [key for key, sample in self.samples.items() if sample.verdict not in OBSERVATIONS]
        if ungraded:
            key = ungraded[which % len(ungraded)]
            score = 0.25 if verdict in OBSERVATIONS else None
            self.journal.regrade([(*key, Grade(verdict, score, answer, "again"))])
            regraded = replace(self.samples[key], verdict=verdict, score=score, answer=answer, detail="again")
            self.samples[key] = regraded

    @rule(n=st.integers(0, 8), seed=st.integers(0, 10))
    def more_prompts(self, n: int, seed: int) -> None:
        self.order = random.Random(seed).sample(PROMPTS[: max(n, len(self.order))], max(n, len(self.order)))
        self.journal.set_prompts(self.order, [])
        self.failures = {}

    @rule(which=st.integers(0, 100), column=st.sampled_from(["samples.seed", "samples.response", "verdicts.verdict"]))
    def damage(self, which: int, column: str) -> None:
        self.journal.commit()
        if not self.samples:
            return
        key = sorted(self.samples)[which % len(self.samples)]
        table, _, name = column.partition(".")
        self.journal.query(
            f"UPDATE {table} SET {name} = {name} || '1' WHERE sample_index = ?"
            " AND prompt_number = (SELECT prompt_number FROM prompts WHERE prompt_id = ?)",
            (key[1], key[0]),
        )
        sample = self.samples.pop(key)
        if table == "verdicts":
            ungraded = {"verdict": Verdict.GRADER_ERROR, "detail": "not graded yet", "answer": None, "score": None}
            self.samples[key] = replace(sample, **ungraded)
        self.journal.__exit__(None, None, None)
        mended = mend_journal(self.path, (GRADER,), self.order)
        assert mended is not None
        assert (mended.damage.samples, mended.damage.verdicts) == (int(table == "samples"), int(table == "verdicts"))
        assert mend_journal(self.path, (GRADER,), self.order) is None
        mended.kept.unlink()
        self.journal = Journal(self.path, GRADER)

    @rule()
    def reopen(self) -> None:
        self.journal.__exit__(None, None, None)
        self.journal = Journal(self.path, GRADER)

    @invariant()
    def what_is_there_is_what_was_added(self) -> None:
        self.journal.commit()
        position = {prompt.prompt_id: place for place, prompt in enumerate(self.order)}
        keys = sorted(self.samples, key=lambda key: (position[key[0]], key[1]))
        with Journal(self.path, GRADER, read_only=True) as reader:
            assert [plain(sample) for sample in reader.samples()] == [plain(self.samples[key]) for key in keys]
            assert reader.done() == {
                prompt_id: {index for other, index in keys if other == prompt_id} for prompt_id, _ in keys
            }
            assert reader.find_ungraded() == [
                key for key in keys if self.samples[key].verdict not in OBSERVATIONS | {Verdict.GOLD_UNPARSEABLE}
            ]
            for key in keys[:3]:
                assert reader.response(*key) == self.samples[key].response
            assert list(reader.prompts()) == self.order
            rows = reader.query(
                "SELECT prompt_id, sample_index, error FROM failures JOIN prompts USING (prompt_number)"
            )
            assert {(prompt_id, index): error for prompt_id, index, error in rows} == self.failures

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.__exit__(None, None, None)
            shutil.rmtree(self.folder)


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=30, stateful_step_count=12)


@given(st.lists(samples(), max_size=5))
@settings(max_examples=50)
def test_samples_read_back_equal_to_those_written(written: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(PROMPTS, [])
        written = [replace(sample, prompt_id=PROMPTS[0].prompt_id, sample_index=k) for k, sample in enumerate(written)]
        for sample in reversed(written):
            journal.add(sample)
        journal.commit()
        assert [plain(sample) for sample in journal.samples()] == [plain(sample) for sample in written]


def test_prompts_read_back_with_their_messages_and_extra_info_in_their_order(path: Path) -> None:
    prompts = [
        Prompt((Message("system", "Be\0brief."), Message("user", " 2 + 2? 🙂 ")), "4", "a"),
        Prompt((Message("user", "x"), Message("assistant", ""), Message("user", "y")), "\\frac{1}{2}", "b"),
        Prompt((Message("user", "made"),), "5", "c", {"generator": "gcd", "parameters": {"seed": 0}, "index": 3}),
    ]
    with Journal(path, GRADER) as journal:
        journal.set_prompts(prompts, [DroppedRow(5, "prompt_too_long", "9 tokens"), DroppedRow(2, "no_ground_truth")])
    with Journal(path, GRADER) as journal:
        assert list(journal.prompts()) == prompts
        assert journal.read_dropped() == [
            DroppedRow(2, "no_ground_truth", ""),
            DroppedRow(5, "prompt_too_long", "9 tokens"),
        ]
        journal.set_prompts(list(reversed(prompts)), [])
        assert list(journal.prompts()) == list(reversed(prompts))
        assert journal.read_dropped() == []


def test_more_prompts_and_another_order_keep_the_samples(journal: Journal) -> None:
    first, second, third, fourth = make_prompts(4)
    for prompt in (first, third):
        journal.add(make_sample(prompt))
    journal.commit()
    journal.set_prompts([*make_prompts(6)[4:], fourth, third, second, first], [])
    assert [sample.prompt_id for sample in journal.samples()] == [third.prompt_id, first.prompt_id]
    assert journal.done() == {first.prompt_id: {0}, third.prompt_id: {0}}


@pytest.mark.parametrize("committed_between", [True, False])
def test_a_second_sample_for_the_same_place_raises_and_changes_nothing(path: Path, committed_between: bool) -> None:
    (prompt,) = make_prompts(1)
    journal = Journal(path, GRADER)
    journal.set_prompts([prompt], [])
    journal.add(make_sample(prompt, response="first"))
    if committed_between:
        journal.commit()
    journal.add(make_sample(prompt, response="second"))
    with pytest.raises(sqlite3.IntegrityError):
        journal.commit()
    journal._db.close()
    with Journal(path, GRADER, read_only=True) as reader:
        assert [sample.response for sample in reader.samples()] == ["first"] * committed_between


def test_a_sample_puts_together_what_engine_and_grader_said() -> None:
    completion = Completion("text", np.arange(2, dtype=np.int32), "length", np.zeros(2, dtype=np.float32))
    sample = Sample.of("ab", 3, 9, completion, Grade(Verdict.GRADER_ERROR, None, "x", "why"))
    assert plain(sample) == plain(
        Sample(
            *("ab", 3, 9, "text", completion.token_ids, "length", "x", Verdict.GRADER_ERROR, None, "why"),
            token_logprobs=completion.token_logprobs,
        )
    )


def test_a_batch_is_committed_at_256_samples(journal: Journal, path: Path) -> None:
    prompt = make_prompts(1)[0]
    for index in range(COMMIT_SAMPLES - 1):
        journal.add(make_sample(prompt, index))
    assert committed(path) == 0
    journal.add(make_sample(prompt, COMMIT_SAMPLES - 1))
    assert committed(path) == COMMIT_SAMPLES == 256
    journal.add(make_sample(prompt, COMMIT_SAMPLES))
    assert committed(path) == COMMIT_SAMPLES


def test_a_commit_waits_for_the_disk(journal: Journal) -> None:
    assert journal.query("PRAGMA journal_mode") == [("wal",)]
    assert journal.query("PRAGMA synchronous") == [(2,)]  # FULL


def test_a_smaller_batch_is_committed_before_a_second_has_passed(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("spo_data.run.journal.time", clock)
    journal.commit()
    journal.add(make_sample(make_prompts(1)[0]))
    now += 0.7
    journal.commit_if_due()
    assert committed(path) == 0
    now += 0.1
    journal.commit_if_due()
    assert committed(path) == 1


@pytest.mark.parametrize("error", [None, RuntimeError("in the block")])
def test_leaving_the_block_commits(path: Path, error: Exception | None) -> None:
    prompts = make_prompts(1)

    def write() -> None:
        with Journal(path, GRADER) as journal:
            journal.set_prompts(prompts, [])
            journal.add(make_sample(prompts[0]))
            if error is not None:
                raise error

    if error is None:
        write()
    else:
        with pytest.raises(RuntimeError):
            write()
    assert committed(path) == 1


def test_a_failure_is_recorded_once_and_removed_by_a_later_sample(journal: Journal) -> None:
    first, second, *_ = make_prompts(4)
    for error in ("too long", "engine error"):
        journal.add_failure(first.prompt_id, 0, error)
    journal.add_failure(first.prompt_id, 1, "x")
    journal.add_failure(second.prompt_id, 0, "y")
    query = "SELECT position, sample_index, error FROM failures JOIN prompts USING (prompt_number) ORDER BY 1, 2"
    assert journal.query(query) == [(0, 0, "engine error"), (0, 1, "x"), (1, 0, "y")]
    journal.add(make_sample(first, 0))
    journal.commit()
    assert journal.query(query) == [(0, 1, "x"), (1, 0, "y")]


def test_samples_that_we_failed_to_grade_can_be_regraded_from_their_response(journal: Journal) -> None:
    first, second, *_ = make_prompts(4)
    failed = {"verdict": Verdict.GRADER_TIMEOUT, "score": None, "answer": None, "detail": "over 10 s"}
    journal.add(make_sample(second, 0, response="late", **failed))
    journal.add(make_sample(first, 1, response="", **failed))
    journal.add(make_sample(first, 0, verdict=Verdict.TRUNCATED, score=0.0))
    journal.commit()
    assert journal.find_ungraded() == [(first.prompt_id, 1), (second.prompt_id, 0)]
    assert [journal.response(*key) for key in journal.find_ungraded()] == ["", "late"]
    journal.regrade([(second.prompt_id, 0, Grade(Verdict.WRONG, 0.0, "5"))])
    assert journal.find_ungraded() == [(first.prompt_id, 1)]
    regraded = list(journal.samples())[-1]
    expected = make_sample(second, 0, response="late", verdict=Verdict.WRONG, score=0.0, answer="5")
    assert plain(regraded) == plain(expected)


def test_a_reader_can_open_while_a_writer_is_live_and_sees_what_is_committed(journal: Journal, path: Path) -> None:
    first, second, *_ = make_prompts(4)
    journal.add(make_sample(first))
    journal.commit()
    with Journal(path, GRADER, read_only=True) as reader:
        journal.add(make_sample(second))
        assert reader.done() == {first.prompt_id: {0}}
        journal.commit()
        assert reader.done() == {first.prompt_id: {0}, second.prompt_id: {0}}


def test_a_reader_cannot_write_and_creates_no_file(journal: Journal, path: Path, tmp_path: Path) -> None:
    prompt = make_prompts(1)[0]
    with Journal(path, GRADER, read_only=True) as reader:
        with pytest.raises(sqlite3.OperationalError):
            reader.add_failure(prompt.prompt_id, 0, "x")
        with pytest.raises(sqlite3.OperationalError):
            reader.set_prompts(make_prompts(5), [])
    assert list(journal.prompts()) == make_prompts(4)
    with pytest.raises(sqlite3.OperationalError):
        Journal(tmp_path / "absent.sqlite", GRADER, read_only=True)
    assert not (tmp_path / "absent.sqlite").exists()


def test_a_reader_finds_an_empty_journal_where_the_writer_was_killed_before_its_tables(path: Path) -> None:
    """A writer killed between making the file and its tables left a run that could be neither shown nor resumed."""
    path.touch()
    with Journal(path, GRADER, read_only=True) as reader:
        assert list(reader.prompts()) == []
        assert reader.done() == {}


WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from spo_data.grading.verdict import Verdict
from spo_data.run.journal import Journal
from spo_data.run.sample import Sample
from spo_data.provenance import GraderRecord
from spo_data.prompts.identity import Message, Prompt

prompt = Prompt((Message("user", "?"),), "4", "x")
journal = Journal(Path(sys.argv[1]), GraderRecord(verifier="exact", version="rules 1"))
journal.set_prompts([prompt], [])
for index in range(300):
    ids = np.arange(50, dtype=np.int32)
    journal.add(Sample(prompt.prompt_id, index, index, "r", ids, "stop", "4", Verdict.CORRECT, 1.0))
    if index == 289:
        journal.commit()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_writer_killed_after_a_commit_loses_nothing_of_it(path: Path, read_only: bool) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == "ready\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with Journal(path, GRADER, read_only=read_only) as journal:
        (indices,) = journal.done().values()
        assert indices == set(range(290))
        assert all(sample.token_ids.tolist() == list(range(50)) for sample in journal.samples())
        assert journal.query("PRAGMA integrity_check") == [("ok",)]


def test_a_torn_log_holds_whole_batches_only_and_opens_without_error(path: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    prompts = make_prompts(3)
    boundaries = {0}
    with Journal(path, GRADER) as journal:
        journal.set_prompts(prompts, [])
        empty = path.with_name("journal.sqlite-wal").stat().st_size
        total = 0
        for batch in range(8):
            for k in range(rng.randint(1, 6)):
                blob = rng.randbytes(rng.choice([10, 9000])).decode("latin-1")
                journal.add(make_sample(prompts[k % 3], batch * 10 + k, response=blob))
                total += 1
            journal.commit()
            boundaries.add(total)
        database = path.read_bytes()
        log = path.with_name("journal.sqlite-wal").read_bytes()
    assert len(log) > empty
    cuts = sorted({0, 1, 31, 32, 33, empty, len(log) - 1, len(log), *(rng.randrange(len(log)) for _ in range(40))})
    found = []
    for cut in cuts:
        torn = tmp_path / f"cut-{cut}" / "journal.sqlite"
        torn.parent.mkdir()
        torn.write_bytes(database)
        torn.with_name("journal.sqlite-wal").write_bytes(log[:cut])
        with Journal(torn, GRADER) as reopened:
            count = len(list(reopened.samples()))
            assert count == sum(map(len, reopened.done().values()))
            assert reopened.query("PRAGMA integrity_check") == [("ok",)]
            reopened.set_prompts(prompts, [])
            reopened.add(make_sample(prompts[0], 999))
        with Journal(torn, GRADER, read_only=True) as reader:
            assert len(list(reader.samples())) == count + 1
        found.append(count)
    assert set(found) <= boundaries
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, total)
    assert len(set(found)) > 4, "the cuts fell in too few places to tell"


def test_a_log_with_a_flipped_byte_holds_the_batches_before_it(path: Path, tmp_path: Path) -> None:
    prompt = make_prompts(1)[0]
    sizes = []
    with Journal(path, GRADER) as journal:
        journal.set_prompts([prompt], [])
        for index in range(4):
            journal.add(make_sample(prompt, index))
            journal.commit()
            sizes.append(path.with_name("journal.sqlite-wal").stat().st_size)
        log = bytearray(path.with_name("journal.sqlite-wal").read_bytes())
        log[(sizes[1] + sizes[2]) // 2] ^= 0xFF
        torn = tmp_path / "torn.sqlite"
        torn.write_bytes(path.read_bytes())
        torn.with_name("torn.sqlite-wal").write_bytes(log)
    with Journal(torn, GRADER) as reopened:
        assert [sample.sample_index for sample in reopened.samples()] == [0, 1]


def test_each_batch_leaves_when_it_came_and_what_it_held(path: Path) -> None:
    first, second, *_ = make_prompts(4)
    began = time.time()
    with Journal(path, GRADER) as journal:
        journal.set_prompts(make_prompts(4), [])
        assert journal.commits() == []
        journal.add(make_sample(first, 0))
        journal.add(make_sample(second, 0, token_ids=np.arange(50, dtype=np.int32)))
        journal.commit()
        journal.commit()
        journal.add(make_sample(first, 1))
    with Journal(path, GRADER, read_only=True) as reader:
        commits = reader.commits()
    assert [(commit.call, commit.samples, commit.response_tokens) for commit in commits] == [(1, 2, 53), (1, 1, 3)]
    assert began - 0.01 <= commits[0].time <= commits[1].time <= time.time() + 0.01


def test_the_tokens_of_a_batch_are_those_that_the_model_sampled(journal: Journal) -> None:
    """Tool output counted as sampled tokens, so the report's tokens per second were too high."""
    mask = np.array([True, False, False])
    first, second, *_ = make_prompts(4)
    journal.add(make_sample(first, response_mask=mask))
    journal.add(make_sample(second))
    journal.commit()
    assert [commit.response_tokens for commit in journal.commits()] == [1 + 3]
    assert [sample.sampled_tokens for sample in journal.samples()] == [1, 3]
    assert journal.query("SELECT response_tokens FROM samples") == [(3,), (3,)]


def plans_of(journal: Journal, act: Callable[[], object]) -> dict[str, list[str]]:
    """The SQL statements that `act` runs, with the steps of their query plans."""
    statements: list[str] = []
    journal._db.set_trace_callback(statements.append)
    act()
    journal._db.set_trace_callback(None)
    run = [one for one in map(str.lstrip, statements) if one.startswith(("SELECT", "DELETE", "INSERT", "UPDATE"))]
    return {one: [step for *_, step in journal.query(f"EXPLAIN QUERY PLAN {one}")] for one in run}


def test_a_commit_goes_through_no_table(journal: Journal) -> None:
    """For each sample, a commit scanned all verdicts for those of an earlier response that an interpreter failure had
    ended. Commits slowed down as the run grew, and a million samples would have taken hours instead of minutes."""
    first, second = make_prompts(2)

    def commit_another() -> None:
        journal.add(make_sample(second))
        journal.commit()

    journal.add(make_sample(first))
    journal.commit()
    plans = plans_of(journal, commit_another)
    assert [one for one in plans if "INTO verdicts" in one]
    assert {one: plan for one, plan in plans.items() if any(step.startswith("SCAN") for step in plan)} == {}


@pytest.mark.parametrize("tools", [None, ToolsRecord.of(ToolOptions(tools="python"))])
def test_what_goes_through_all_samples_reads_an_index_and_not_their_rows(
    journal: Journal, tools: ToolsRecord | None
) -> None:
    """To find responses that an interpreter failure had ended, a call scanned the rows of all samples, including
    responses and tokens, five times or more. Each scan read twenty gigabytes in a run of ten million samples."""
    manifest = make_manifest({"tools": tools}, n=1)
    passes: list[Callable[[], object]] = [
        journal.done,
        journal.find_ungraded,
        journal.mark_cut_short,
        lambda: summarize(journal, manifest),
        lambda: journal.set_prompts(make_prompts(4), []),
    ]
    for go_through in passes:
        plans = plans_of(journal, go_through)
        through = [
            step for plan in plans.values() for step in plan if step.startswith(("SCAN samples", "SEARCH samples"))
        ]
        assert through, "each of them goes through the samples"
        # Responses that an interpreter failure ended are deleted by rowid.
        assert [step for step in through if "COVERING INDEX" not in step and "(rowid=?)" not in step] == [], plans


def test_a_journal_without_the_index_is_read_as_it_is_and_gets_it_from_a_writer(path: Path, journal: Journal) -> None:
    """Older journals of this schema have no index. A writer creates it, and a reader does without it."""
    indexes = "SELECT name FROM sqlite_master WHERE name = 'samples_in_brief'"
    journal.add(make_sample(make_prompts(1)[0]))
    journal.commit()
    journal.query("DROP INDEX samples_in_brief")
    with Journal(path, GRADER, read_only=True) as reader:
        assert reader.done() == {make_prompts(1)[0].prompt_id: {0}}
        assert reader.query(indexes) == []
    for _ in range(2):
        with Journal(path, GRADER) as writer:
            assert writer.query(indexes) == [("samples_in_brief",)]
            assert writer.query("PRAGMA integrity_check") == [("ok",)]


def test_a_call_that_draws_samples_gets_the_next_number_and_others_get_none(path: Path) -> None:
    (prompt,) = make_prompts(1)
    for index, draws in enumerate((True, False, True, True, False)):
        with Journal(path, GRADER) as journal:
            journal.set_prompts([prompt], [])
            for sample in range(2 * draws):
                journal.add(make_sample(prompt, 2 * index + sample))
                journal.commit()
            if not draws:
                journal.regrade([(prompt.prompt_id, 0, Grade(Verdict.WRONG, 0.0))])
    with Journal(path, GRADER, read_only=True) as reader:
        assert [commit.call for commit in reader.commits()] == [1, 1, 2, 2, 3, 3]


def test_a_batch_that_fails_leaves_no_trace_of_itself(path: Path) -> None:
    (prompt,) = make_prompts(1)
    journal = Journal(path, GRADER)
    journal.set_prompts([prompt], [])
    journal.add(make_sample(prompt, 0))
    journal.commit()
    journal.add(make_sample(prompt, 1))
    journal.add(make_sample(prompt, 0))
    with pytest.raises(sqlite3.IntegrityError):
        journal.commit()
    journal._db.close()
    with Journal(path, GRADER, read_only=True) as reader:
        assert [commit.samples for commit in reader.commits()] == [1] == [len(list(reader.samples()))]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_journal_from_before_commits_were_recorded_opens_and_records_from_then_on(
    path: Path, read_only: bool
) -> None:
    (prompt,) = make_prompts(1)
    with Journal(path, GRADER) as journal:
        journal.set_prompts([prompt], [])
        journal.add(make_sample(prompt, 0))
    old = sqlite3.connect(path)
    old.execute("DROP TABLE commits")
    old.execute("ALTER TABLE samples DROP COLUMN response_mask")
    old.execute("PRAGMA user_version = 2")
    old.commit()
    old.close()
    with Journal(path, GRADER, read_only=read_only) as journal:
        assert journal.commits() == []
        assert len(list(journal.samples())) == 1
        assert journal.query("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    with Journal(path, GRADER) as journal:
        journal.add(make_sample(prompt, 1))
    with Journal(path, GRADER, read_only=True) as reader:
        assert [(commit.call, commit.samples) for commit in reader.commits()] == [(1, 1)]
        assert len(list(reader.samples())) == 2


@pytest.mark.parametrize("read_only", [True, False])
def test_the_journal_of_a_later_release_is_refused_and_left_as_it_is(path: Path, read_only: bool) -> None:
    later = SCHEMA_VERSION + 1
    with Journal(path, GRADER) as journal:
        journal.query(f"PRAGMA user_version = {later}")
    with pytest.raises(sqlite3.NotSupportedError, match=f"version {later}, this spo-data knows {SCHEMA_VERSION}"):
        Journal(path, GRADER, read_only=read_only)
    with (
        pytest.raises(SpoError, match=rf"journal.sqlite cannot be read: its schema is version {later}"),
        open_journal(path, GRADER),
    ):
        pass
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (later,)
    database.close()


def test_no_statement_has_numbered_parameters() -> None:
    """Python 3.12 warned at each commit that ?1 is a named parameter for which it was given a sequence."""
    statements = [text for name, text in vars(journal_rows).items() if name.isupper() and isinstance(text, str)]
    assert any("INSERT INTO commits" in text for text in statements)
    assert not [text for text in statements if re.search(r"\?\d", text)]
