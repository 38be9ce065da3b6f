"""Several graders' verdicts on the samples of one journal, and journals of the first, one-grader schema."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spo_data.grading.verdict import OBSERVATIONS, TRUNCATED, Grade, Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run import journal_tables as journal_schema
from spo_data.run.journal import Journal
from spo_data.run.journal_rows import SAMPLES_IN_ORDER
from spo_data.run.sample import Sample

A = GraderRecord(verifier="exact", version="rules 1")
B = GraderRecord(verifier="dapo", version="rules 1")
C = GraderRecord(verifier="exact", version="rules 2")
GRADERS = (A, B, C)

RIGHT, WRONG = Grade.scored(1.0, "4"), Grade.scored(0.0, "5")
LATE = Grade.failed(Verdict.GRADER_TIMEOUT, "over 10 s")
BAD_GOLD = Grade.failed(Verdict.GOLD_UNPARSEABLE, "'?' does not verify against itself")
BROKEN = Grade.failed(Verdict.TOOL_ERROR, "no answer from http://sandbox")
NOT_YET = Grade.failed(Verdict.GRADER_ERROR, "not graded yet")

PROMPTS = [Prompt((Message("user", f"What is {k} + {k}?"),), str(2 * k), "sums") for k in range(4)]
P0, P1, P2, P3 = (prompt.prompt_id for prompt in PROMPTS)


def sample(prompt_id: str, index: int = 0, graded: Grade = RIGHT, reason: str = "stop") -> Sample:
    return Sample(
        prompt_id=prompt_id,
        sample_index=index,
        seed=7 + index,
        response=f"response {index} to {prompt_id}",
        token_ids=np.arange(3, dtype=np.int32),
        finish_reason=reason,  # type: ignore[arg-type]
        answer=graded.answer,
        verdict=graded.verdict,
        score=graded.score,
        detail=graded.detail,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Four samples that A has judged, one of them truncated."""
    with Journal(path, A) as journal:
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P1, 0, WRONG))
        journal.add(sample(P0, 1, LATE))
        journal.add(sample(P0, 0, RIGHT))
        journal.add(sample(P2, 0, TRUNCATED, "length"))
        journal.commit()
        yield journal


def seen(path: Path, grader: GraderRecord) -> dict[tuple[str, int], Grade]:
    """A grader's verdict on each sample."""
    with Journal(path, grader, read_only=True) as reader:
        return {(one.prompt_id, one.sample_index): one.graded for one in reader.samples()}


# One journal, several graders.


def test_each_grader_sees_its_own_verdicts(journal: Journal, path: Path) -> None:
    journal.regrade([(P1, 0, RIGHT), (P0, 0, WRONG), (P0, 1, WRONG), (P2, 0, TRUNCATED)], B)
    assert seen(path, A) == {(P0, 0): RIGHT, (P0, 1): LATE, (P1, 0): WRONG, (P2, 0): TRUNCATED}
    assert seen(path, B) == {(P0, 0): WRONG, (P0, 1): WRONG, (P1, 0): RIGHT, (P2, 0): TRUNCATED}


@pytest.mark.parametrize("read_only", [True, False])
def test_samples_that_a_grader_has_not_judged_are_failures_and_ungraded(
    journal: Journal, path: Path, read_only: bool
) -> None:
    journal.regrade([(P0, 0, WRONG)], B)
    with Journal(path, B, read_only=read_only) as other:
        graded = [one.graded for one in other.samples()]
        assert graded == [WRONG, NOT_YET, NOT_YET, NOT_YET]
        assert other.find_ungraded() == [(P0, 1), (P1, 0), (P2, 0)]
        assert other.query("SELECT verdict, count(*) FROM graded GROUP BY 1 ORDER BY 1") == [
            ("grader_error", 3),
            ("wrong", 1),
        ]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_grader_that_the_journal_does_not_know_has_judged_nothing(
    journal: Journal, path: Path, read_only: bool
) -> None:
    with Journal(path, C, read_only=read_only) as other:
        assert {one.graded for one in other.samples()} == {NOT_YET}
        assert len(other.find_ungraded()) == 4
        assert other.values(C, 1) == {}
        assert other.confusion(A) == {}
        assert other.find_differing(A) == []
    assert journal.confusion(C) == {}


def test_looking_through_another_graders_eyes_makes_it_no_grader(journal: Journal, path: Path) -> None:
    with Journal(path, C, read_only=True):
        pass
    assert journal.graders() == [A]


def test_graders_are_those_that_have_verdicts_the_first_one_first(journal: Journal, path: Path) -> None:
    """A grader that was only asked which samples it has left to grade is not among them."""
    assert journal.find_ungraded(C)
    with Journal(path, C):
        pass
    journal.regrade([(P0, 0, RIGHT)], B)
    assert journal.graders() == [A, B]


def test_a_regrade_keeps_the_other_graders_verdicts_and_replaces_its_own(journal: Journal, path: Path) -> None:
    before = seen(path, A)
    journal.regrade([(P0, 0, WRONG), (P1, 0, LATE)], B)
    journal.regrade([(P1, 0, RIGHT)], B)
    assert seen(path, A) == before
    assert seen(path, B) == {(P0, 0): WRONG, (P0, 1): NOT_YET, (P1, 0): RIGHT, (P2, 0): NOT_YET}
    journal.regrade([(P0, 1, WRONG)])
    assert seen(path, A) == before | {(P0, 1): WRONG}
    assert seen(path, B)[P0, 1] == NOT_YET


def test_a_regrade_is_whole_or_not_at_all(journal: Journal, path: Path) -> None:
    def verdicts() -> Iterator[tuple[str, int, Grade]]:
        yield P0, 0, WRONG
        raise RuntimeError("the grader died")

    with pytest.raises(RuntimeError):
        journal.regrade(verdicts(), B)
    assert set(seen(path, B).values()) == {NOT_YET}


def test_second_opinions_are_stored_with_their_sample(path: Path) -> None:
    with Journal(path, A) as journal:
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P0, 0, RIGHT), {B: WRONG, C: LATE})
        journal.add(sample(P0, 1, WRONG), {B: WRONG})
    assert seen(path, A) == {(P0, 0): RIGHT, (P0, 1): WRONG}
    assert seen(path, B) == {(P0, 0): WRONG, (P0, 1): WRONG}
    assert seen(path, C) == {(P0, 0): LATE, (P0, 1): NOT_YET}


def test_confusion_counts_pairs_of_verdicts_with_ours_first(journal: Journal) -> None:
    journal.regrade([(P1, 0, RIGHT), (P0, 0, WRONG), (P0, 1, WRONG)], B)
    assert journal.confusion(B) == {
        (Verdict.CORRECT, Verdict.WRONG): 1,
        (Verdict.GRADER_TIMEOUT, Verdict.WRONG): 1,
        (Verdict.WRONG, Verdict.CORRECT): 1,
    }
    assert sum(journal.confusion(A).values()) == 4


def test_differing_are_the_samples_that_both_scored_and_differently(journal: Journal) -> None:
    half = Grade(Verdict.WRONG, 0.5, "5")
    journal.regrade([(P1, 0, half), (P0, 0, RIGHT), (P0, 1, WRONG), (P2, 0, WRONG)], B)
    ((number, index, ours, theirs),) = journal.find_differing(B)
    assert journal.query("SELECT prompt_id FROM prompts WHERE prompt_number = ?", (number,)) == [(P1,)]
    assert (index, ours, theirs) == (0, WRONG, half)


def test_values_are_means_of_what_was_observed_in_prompt_order(journal: Journal) -> None:
    journal.add(sample(P0, 2, WRONG))
    journal.add(sample(P3, 0, LATE))
    journal.commit()
    assert list(journal.values(A, 1).items()) == [(P0, 0.5), (P1, 0.0), (P2, 0.0)]
    journal.regrade([(P3, 0, Grade(Verdict.WRONG, 0.25, "x")), (P0, 0, BAD_GOLD)], B)
    assert journal.values(B, 1) == {P3: 0.25}
    journal.set_prompts(PROMPTS[::-1], [])
    assert list(journal.values(A, 1)) == [P2, P1, P0]


def test_prompts_with_undrawn_samples_have_no_value_and_are_counted(journal: Journal) -> None:
    """A sample that could not be drawn, or that the interpreter broke off, was tried: its prompt is finished."""
    journal.add(sample(P3, 0, BAD_GOLD))
    journal.add(sample(P2, 1, BROKEN, "tool_error"))
    journal.commit()
    journal.add_failure(P0, 2, "too long")
    numbers = dict(journal.query("SELECT prompt_id, prompt_number FROM prompts"))
    assert list(journal.undrawn(1)) == []
    assert list(journal.undrawn(2)) == [(numbers[P1], P1, 1)]
    assert list(journal.undrawn(3)) == [(numbers[P1], P1, 2), (numbers[P2], P2, 1)]
    assert [list(journal.values(A, n)) for n in (1, 2, 3, 4)] == [[P0, P1, P2], [P0, P2], [P0], []]
    with Journal(journal.path, B, read_only=True) as other:
        assert {prompt_id for _, prompt_id, _ in other.undrawn(2)} == {P1, P3}
    journal.set_prompts(PROMPTS, [])
    assert {prompt_id for _, prompt_id, _ in journal.undrawn(3)} == {P0, P1, P2}


def test_what_a_token_limit_ended_is_truncated_for_every_grader_that_is_told(journal: Journal, path: Path) -> None:
    journal.mark_cut_short(B)
    journal.mark_cut_short(B)
    assert seen(path, B) == {(P0, 0): NOT_YET, (P0, 1): NOT_YET, (P1, 0): NOT_YET, (P2, 0): TRUNCATED}
    assert journal.find_ungraded(B) == [(P0, 0), (P0, 1), (P1, 0)]
    assert seen(path, C)[P2, 0] == NOT_YET


def test_ungraded_has_those_with_bad_golds_where_they_are_asked_for(journal: Journal) -> None:
    journal.regrade([(P1, 0, BAD_GOLD), (P0, 0, BAD_GOLD)])
    assert journal.find_ungraded() == [(P0, 1)]
    assert journal.find_ungraded(bad_golds=True) == [(P0, 0), (P0, 1), (P1, 0)]
    journal.regrade([(P0, 0, RIGHT)])
    assert journal.find_ungraded(bad_golds=True) == [(P0, 1), (P1, 0)]


def test_a_reward_function_is_the_same_grader_wherever_its_folder_lies(journal: Journal, path: Path) -> None:
    here = GraderRecord(verifier="/here/my.py:compute_score", version="compute_score sha256 1")
    there = GraderRecord(verifier="over/there.py:compute_score", version="compute_score sha256 1")
    changed = GraderRecord(verifier="/here/my.py:compute_score", version="compute_score sha256 2")
    other = GraderRecord(verifier="/here/my.py:other", version="other sha256 1")
    journal.regrade([(P0, 0, WRONG)], here)
    assert seen(path, there)[P0, 0] == WRONG
    assert seen(path, changed)[P0, 0] == seen(path, other)[P0, 0] == NOT_YET
    journal.regrade([(P0, 0, RIGHT)], there)
    assert seen(path, here)[P0, 0] == RIGHT
    assert journal.graders() == [A, here]


def test_verdicts_of_a_grader_that_grades_truncated_responses_are_its_own(journal: Journal, path: Path) -> None:
    graded = A.model_copy(update={"truncated": "grade"})
    journal.mark_cut_short(graded)
    assert (P2, 0) in journal.find_ungraded(graded)
    assert journal.is_truncated(P2, 0)
    assert not journal.is_truncated(P0, 0)
    journal.regrade([(P2, 0, RIGHT.as_truncated())], graded)
    assert seen(path, graded)[P2, 0] == Grade(Verdict.TRUNCATED, 1.0, RIGHT.answer)
    assert seen(path, A)[P2, 0] == TRUNCATED
    assert journal.graders() == [A, graded]


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x\udfff\0", "", "日本語 🙂", "'); DROP TABLE verdicts; --"])
def test_any_answer_and_detail_can_be_stored(journal: Journal, path: Path, text: str) -> None:
    """sqlite3 refuses lone surrogates, which json.loads makes of `\\ud800`, so one answer ended a whole run."""
    stored = text.encode(errors="replace").decode()
    journal.regrade([(P0, 0, Grade(Verdict.WRONG, 0.0, text, text))], B)
    journal.add(sample(P3, 0, Grade(Verdict.GRADER_ERROR, None, text, text)), {B: Grade.failed(Verdict.WRONG, text)})
    journal.commit()
    assert seen(path, B)[P0, 0] == Grade(Verdict.WRONG, 0.0, stored, stored)
    assert seen(path, A)[P3, 0] == Grade(Verdict.GRADER_ERROR, None, stored, stored)
    assert seen(path, B)[P3, 0].detail == stored


@pytest.mark.parametrize("read_only", [True, False])
def test_samples_are_read_in_order_without_sorting_or_copying_them(journal: Journal, read_only: bool) -> None:
    """Sorting, or materializing the view, would copy every response into a temporary file."""
    with Journal(journal.path, A, read_only=read_only) as reader:
        plan = [detail for *_, detail in reader.query(f"EXPLAIN QUERY PLAN {SAMPLES_IN_ORDER}")]
    assert plan
    assert not [step for step in plan if "TEMP B-TREE" in step or "MATERIALIZE" in step or "CO-ROUTINE" in step], plan
    assert sum("SCAN" in step for step in plan) == 1, plan
    assert [step for step in plan if "verdicts" in step and "PRIMARY KEY" in step], plan


# Any order of operations, against plain dicts.

VERDICTS = st.sampled_from([RIGHT, WRONG, LATE, BAD_GOLD, Grade(Verdict.WRONG, 0.5, None), Grade.scored(0.0, "\0")])
KEYS = st.tuples(st.sampled_from([P0, P1, P2, P3]), st.integers(0, 2))


def test_a_response_drawn_again_has_no_verdict_of_the_one_that_was_broken_off(path: Path) -> None:
    """An earlier grader's `tool_error` verdict stayed. If the redrawn response reached the token limit, that grader
    graded it, and it could score 1 instead of counting as truncated."""
    with Journal(path, A) as journal:
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P0, 0, BROKEN, "tool_error"))
    with Journal(path, B) as journal:
        journal.mark_cut_short()
        assert [one.graded for one in journal.samples()] == [BROKEN], "with its reason, whoever grades"
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P0, 0, TRUNCATED, "length"))
    with Journal(path, A) as journal:
        journal.mark_cut_short()
        assert journal.find_ungraded() == []
        assert [one.graded for one in journal.samples()] == [TRUNCATED]


def test_a_new_call_begins_without_what_was_broken_off(path: Path) -> None:
    """A response that an interpreter failure ended stayed if no later call drew it again. Its verdicts stayed too, and
    so did its prompt, at a position that another prompt already had."""
    with Journal(path, A) as journal:
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P0, 0, BROKEN, "tool_error"), {B: BROKEN})
        journal.add(sample(P1, 0, BROKEN, "tool_error"), {B: BROKEN})
        journal.add(sample(P1, 1, RIGHT), {B: WRONG})
        journal.commit()
        journal.set_prompts(PROMPTS[1:], [])
        assert [(one.prompt_id, one.sample_index, one.graded) for one in journal.samples()] == [(P1, 1, RIGHT)]
        assert list(journal.prompts()) == PROMPTS[1:]
        assert journal.query("SELECT verdict FROM verdicts ORDER BY grading") == [("correct",), ("wrong",)]
        assert [commit.samples for commit in journal.commits()] == [3], "they took their time"


def test_a_call_that_finds_only_what_was_broken_off_begins_a_run(path: Path) -> None:
    """Another policy may use such a folder. The old policy's times would have been mixed with the new ones."""
    with Journal(path, A) as journal:
        journal.set_prompts(PROMPTS, [])
        journal.add(sample(P0, 0, BROKEN, "tool_error"))
        journal.commit()
        journal.set_prompts(PROMPTS, [])
        assert journal.commits() == []


class VerdictsMachine(RuleBasedStateMachine):
    """Three graders over one journal."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "journal.sqlite"
        self.current = A
        self.journal = Journal(self.path, A)
        self.order = [P0, P1, P2, P3]
        self.journal.set_prompts(PROMPTS, [])
        self.reasons: dict[tuple[str, int], str] = {}
        self.verdicts: dict[GraderRecord, dict[tuple[str, int], Grade]] = {grader: {} for grader in GRADERS}

    @rule(
        key=KEYS,
        graded=VERDICTS,
        reason=st.sampled_from(["stop", "length", "tool_error"]),
        others=st.dictionaries(st.sampled_from(GRADERS), VERDICTS),
    )
    def add(self, key: tuple[str, int], graded: Grade, reason: str, others: dict[GraderRecord, Grade]) -> None:
        if key not in self.reasons:
            others.pop(self.current, None)
            if reason == "tool_error":
                graded, others = BROKEN, dict.fromkeys(others, BROKEN)
            self.reasons[key] = reason
            self.journal.add(sample(*key, graded, reason), others)
            self.journal.commit()
            for grader, verdict in {**others, self.current: graded}.items():
                self.verdicts[grader][key] = verdict

    @rule(grader=st.none() | st.sampled_from(GRADERS), new=st.dictionaries(KEYS, VERDICTS, min_size=1))
    def regrade(self, grader: GraderRecord | None, new: dict[tuple[str, int], Grade]) -> None:
        new = {key: graded for key, graded in new.items() if self.reasons.get(key, "tool_error") != "tool_error"}
        self.journal.regrade([(*key, graded) for key, graded in new.items()], grader)
        self.verdicts[grader or self.current].update(new)

    @rule(grader=st.none() | st.sampled_from(GRADERS))
    def mark_cut_short(self, grader: GraderRecord | None) -> None:
        self.journal.mark_cut_short(grader)
        for key, reason in self.reasons.items():
            if reason != "stop":
                verdict = TRUNCATED if reason == "length" else BROKEN
                self.verdicts[grader or self.current].setdefault(key, verdict)

    @rule(grader=st.sampled_from(GRADERS))
    def reopen(self, grader: GraderRecord) -> None:
        self.journal.__exit__(None, None, None)
        self.current, self.journal = grader, Journal(self.path, grader)

    @rule()
    def turn_the_prompts_round(self) -> None:
        for key in [key for key, reason in self.reasons.items() if reason == "tool_error"]:
            for said in (self.reasons, *self.verdicts.values()):
                said.pop(key, None)
        self.order.reverse()
        by_id = {prompt.prompt_id: prompt for prompt in PROMPTS}
        self.journal.set_prompts([by_id[prompt_id] for prompt_id in self.order], [])

    @invariant()
    def everybody_sees_what_they_said(self) -> None:
        keys = sorted(self.reasons, key=lambda key: (self.order.index(key[0]), key[1]))
        for ours in GRADERS:
            said = self.verdicts[ours]
            with Journal(self.path, ours, read_only=True) as reader:
                found = [((one.prompt_id, one.sample_index), one.graded) for one in reader.samples()]
                assert found == [(key, said.get(key, NOT_YET)) for key in keys]
                settled = OBSERVATIONS | {Verdict.GOLD_UNPARSEABLE}
                whole = [key for key in keys if self.reasons[key] != "tool_error"]
                assert sorted(whole) == sorted((pid, index) for pid, had in reader.done().items() for index in had)
                assert reader.find_ungraded() == [k for k in whole if said.get(k, NOT_YET).verdict not in settled]
                failed = [k for k in whole if said.get(k, NOT_YET).verdict not in OBSERVATIONS]
                assert reader.find_ungraded(bad_golds=True) == failed
                for theirs in GRADERS:
                    self.compare(reader, said, self.verdicts[theirs], theirs)

    def compare(
        self,
        reader: Journal,
        ours: dict[tuple[str, int], Grade],
        theirs: dict[tuple[str, int], Grade],
        other: GraderRecord,
    ) -> None:
        both = ours.keys() & theirs.keys()
        assert reader.confusion(other) == Counter((ours[key].verdict, theirs[key].verdict) for key in both)
        differing = {
            (ours[key].score, theirs[key].score, ours[key].answer, theirs[key].answer, key[1])
            for key in both
            if None not in (ours[key].score, theirs[key].score) and ours[key].score != theirs[key].score
        }
        found = {(a.score, b.score, a.answer, b.answer, index) for _, index, a, b in reader.find_differing(other)}
        assert found == differing
        scores: dict[str, list[float]] = {}
        unreadable: set[str] = set()
        for key in sorted(theirs, key=lambda key: self.order.index(key[0])):
            graded = theirs[key]
            if graded.verdict is Verdict.GOLD_UNPARSEABLE:
                unreadable.add(key[0])
            if graded.verdict in OBSERVATIONS and graded.score is not None:
                scores.setdefault(key[0], []).append(graded.score)
        for n in (1, 2):
            drawn = Counter(prompt_id for prompt_id, _ in self.reasons)
            finished = {pid for pid, count in drawn.items() if count >= n and pid not in unreadable}
            means = {pid: sum(some) / len(some) for pid, some in scores.items() if pid in finished}
            assert list(reader.values(other, n).items()) == list(means.items())

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.__exit__(None, None, None)
            shutil.rmtree(self.folder)


TestVerdictsMachine = VerdictsMachine.TestCase
TestVerdictsMachine.settings = settings(max_examples=20, stateful_step_count=10)


# Journals of the first schema.

FIRST_SCHEMA = """
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

TASK = {"generator": "gcd", "index": 3}
FIRST_PROMPTS = [
    *PROMPTS,
    Prompt((Message("system", "Be\0brief."), Message("user", "made 🙂")), "5", "reasoning-gym:gcd", TASK),
]
FIRST_SAMPLES = [
    sample(P1, 0, WRONG),
    sample(P1, 3, LATE),
    sample(P0, 0, Grade(Verdict.CORRECT, 0.1, "\0x", None)),
    sample(P2, 1, TRUNCATED, "length"),
    sample(FIRST_PROMPTS[4].prompt_id, 0, BAD_GOLD),
]


def write_first_schema(path: Path) -> sqlite3.Connection:
    """Write a journal as the first schema's code did. The connection stays open, so the WAL is not checkpointed."""
    from spo_data.run.journal_rows import prompt_row, sample_row

    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.executescript(f"BEGIN IMMEDIATE; {FIRST_SCHEMA} COMMIT;")
    for position, prompt in enumerate(FIRST_PROMPTS):
        database.execute(
            "INSERT INTO prompts (position, prompt_id, messages, ground_truth, data_source, task)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (position, *prompt_row(prompt)[:-1]),
        )
    numbers = dict(database.execute("SELECT prompt_id, prompt_number FROM prompts").fetchall())
    for one in FIRST_SAMPLES:
        row = sample_row(one, numbers[one.prompt_id])
        number, index, seed, reason, tokens, turns, response, ids, _, logprobs, *_ = row
        verdict = one.answer, str(one.verdict), one.score, one.detail
        database.execute(
            "INSERT INTO samples (prompt_number, sample_index, seed, finish_reason, response_tokens, tool_turns,"
            " answer, verdict, score, detail, response, token_ids, token_logprobs)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, index, seed, reason, tokens, turns, *verdict, response, ids, logprobs),
        )
    database.execute("INSERT INTO failures VALUES (?, 2, 'too long')", (numbers[P0],))
    database.execute("INSERT INTO dropped VALUES (7, 'empty_prompt', '')")
    assert database.execute("PRAGMA user_version").fetchone() == (0,)
    return database


@pytest.fixture(params=["folded", "in the log"])
def first(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A journal of the first schema, or a copy made while its writer was live, with everything still in the WAL."""
    made = tmp_path / "made" / "journal.sqlite"
    made.parent.mkdir()
    database = write_first_schema(made)
    if request.param == "folded":
        database.close()
    for file in made.parent.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, path.parent)
    database.close()
    assert path.with_name("journal.sqlite-wal").exists() is (request.param == "in the log")
    return path


def check_as_it_was(path: Path, *, read_only: bool = True) -> None:
    order = [prompt.prompt_id for prompt in FIRST_PROMPTS]
    expected = sorted(FIRST_SAMPLES, key=lambda one: (order.index(one.prompt_id), one.sample_index))
    with Journal(path, A, read_only=read_only) as journal:
        found = list(journal.samples())
        for one, other in zip(found, expected, strict=True):
            for name in Sample.__dataclass_fields__:
                assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert list(journal.prompts()) == FIRST_PROMPTS
        assert journal.graders() == [A]
        assert journal.find_ungraded() == [(P1, 3)]
        assert journal.query("SELECT sample_index, error FROM failures") == [(2, "too long")]
        assert [drop.row for drop in journal.read_dropped()] == [7]
        assert journal.query("PRAGMA user_version") == [(journal_schema.SCHEMA_VERSION,)]
        assert journal.query("PRAGMA integrity_check") == [("ok",)]
        assert not {"answer", "verdict", "score", "detail"} & {
            name for _, name, *_ in journal.query("PRAGMA table_info(samples)")
        }


def contents(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return list(database.iterdump())
    finally:
        database.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_journal_of_the_first_schema_opens_with_everything_as_it_was(first: Path, read_only: bool) -> None:
    check_as_it_was(first, read_only=read_only)


def test_opening_twice_changes_nothing_more(first: Path) -> None:
    check_as_it_was(first)
    once = contents(first)
    check_as_it_was(first)
    check_as_it_was(first, read_only=False)
    assert contents(first) == once


def test_a_journal_of_the_first_schema_can_be_added_to_and_regraded(first: Path) -> None:
    with Journal(first, A) as journal:
        journal.set_prompts(FIRST_PROMPTS, [])
        journal.add(sample(P3, 0, RIGHT), {B: WRONG})
        journal.regrade([(P1, 3, RIGHT)])
    assert seen(first, A)[P1, 3] == seen(first, A)[P3, 0] == RIGHT
    assert seen(first, B)[P3, 0] == WRONG
    assert seen(first, B)[P1, 0] == NOT_YET


def test_a_first_schema_journal_without_a_sample_opens(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript(FIRST_SCHEMA)
    database.close()
    with Journal(path, A, read_only=True) as journal:
        assert list(journal.samples()) == []
        assert journal.find_ungraded() == []


STATEMENTS = journal_schema._FROM_FIRST_SCHEMA.split(";")


@pytest.mark.parametrize("done", range(len(STATEMENTS) + 1))
def test_a_migration_that_fails_midway_has_changed_nothing(
    first: Path, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing = ";".join([*STATEMENTS[:done], "SELECT no_such_function()", *STATEMENTS[done:]])
        patch.setattr(journal_schema, "_FROM_FIRST_SCHEMA", failing)
        for read_only in (True, False):
            with pytest.raises(sqlite3.OperationalError, match="no_such_function"):
                Journal(first, A, read_only=read_only)
    database = sqlite3.connect(first)
    assert database.execute("SELECT task FROM prompts WHERE task IS NOT NULL").fetchall() == [
        ('{"generator": "gcd", "index": 3}',)
    ]
    assert database.execute("SELECT count(verdict), count(answer) FROM samples").fetchone() == (5, 2)
    assert database.execute("SELECT name FROM sqlite_master WHERE name = 'verdicts'").fetchall() == []
    database.close()
    check_as_it_was(first)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support import scripted
scripted.arm(sys.argv[3], when=sys.argv[4])
from spo_data.run.journal import Journal
from spo_data.provenance import GraderRecord
Journal(Path(sys.argv[2]), GraderRecord(verifier="exact", version="rules 1"), read_only=True)
"""


@pytest.mark.parametrize(
    ("at", "when"),
    [
        pytest.param("sql:CREATE TABLE IF NOT EXISTS verdicts", "after", marks=pytest.mark.slow),
        ("sql:DROP COLUMN verdict", "after"),
        pytest.param("sql:PRAGMA user_version =", "after", marks=pytest.mark.slow),
        pytest.param("sql:COMMIT", "before", marks=pytest.mark.slow),
        ("sql:COMMIT", "after"),
    ],
)
def test_a_process_killed_inside_the_migration_leaves_a_journal_that_opens(first: Path, at: str, when: str) -> None:
    from support import scripted

    arguments = [str(Path(scripted.__file__).parents[1]), str(first), at, when]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60)
    assert killed.returncode == -signal.SIGKILL, "the kill was never reached"
    check_as_it_was(first)


def test_two_processes_that_open_a_first_schema_journal_at_once_both_find_it(first: Path) -> None:
    code = KILLED.replace("scripted.arm(sys.argv[3], when=sys.argv[4])\n", "")
    arguments = [str(Path(__file__).parents[2]), str(first)]
    both = [subprocess.Popen([sys.executable, "-c", code, *arguments]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    check_as_it_was(first)
