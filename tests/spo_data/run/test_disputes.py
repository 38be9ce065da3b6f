"""Samples that two verifiers score differently: by kind, in the summary and in the table of values."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from spo_data.grading.verdict import COMPARED_AS_TEXT, NO_ANSWER, Grade, Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.disputes import NO_ANSWER as ONE_ANSWERED
from spo_data.run.disputes import DisputedKind, compare_graders
from spo_data.run.journal import Journal
from spo_data.run.parquet_tables import write_tables
from spo_data.run.sample import Sample
from spo_data.run.summary import summarize
from support.records import GRADER, make_manifest

ALSO = GraderRecord(verifier="math-verify-plain", version="math-verify 0")
RIGHT, WRONG = Grade(Verdict.CORRECT, 1.0, "4"), Grade(Verdict.WRONG, 0.0, "5")
AS_TEXT = replace(WRONG, detail=COMPARED_AS_TEXT)
FAILED = Grade(Verdict.GRADER_TIMEOUT, None, None, "over 10 s")
NO_GOLD = Grade(Verdict.GOLD_UNPARSEABLE, None, None, "no")

JUDGED = {
    "4": [(RIGHT, WRONG), (RIGHT, RIGHT), (WRONG, RIGHT), (RIGHT, WRONG)],
    "x+1": [(WRONG, NO_ANSWER), (NO_ANSWER, RIGHT), (RIGHT, FAILED), (FAILED, RIGHT)],
    "y": [(AS_TEXT, RIGHT), (RIGHT, RIGHT), (WRONG, WRONG), (AS_TEXT, WRONG)],
    "z": [(RIGHT, NO_GOLD)] * 4,
}
"""Per ground truth, four samples with the verdicts of the run's verifier and of the second one."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    prompts = [Prompt((Message("user", f"{gold}?"),), gold, "d") for gold in JUDGED]
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(prompts, [])
        for prompt in prompts:
            for index, (ours, theirs) in enumerate(JUDGED[prompt.ground_truth]):
                given = (ours.answer, ours.verdict, ours.score, ours.detail)
                ids = np.zeros(1, dtype=np.int32)
                journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", *given), {ALSO: theirs})
        journal.commit()
        yield journal


def test_disputed_samples_are_counted_by_kind_and_direction(journal: Journal) -> None:
    second = compare_graders(journal, ALSO, 4)
    assert (second.compared, second.disagree, second.prompts) == (10, 5, 3)
    assert second.kinds == [
        DisputedKind("number", 3, 2),
        DisputedKind("formula", 1, 0),
        DisputedKind(ONE_ANSWERED, 1, 0),
    ]
    assert second.pairs == {"correct → wrong": 2, "wrong → correct": 2, "no_answer → correct": 1}
    assert [(each.ground_truth, each.samples) for each in second.worst] == [("4", 3), ("x+1", 1), ("y", 1)]


def test_a_value_says_how_many_of_its_samples_are_disputed(journal: Journal, tmp_path: Path) -> None:
    """A prompt whose samples the second verifier never judged says nothing: zero would be agreement."""
    manifest = make_manifest(n=4, also=ALSO)
    summary = summarize(journal, manifest)
    write_tables(journal, tmp_path, manifest.provenance, summary.completeness)
    rows = pq.read_table(tmp_path / "values").to_pylist()
    assert {row["ground_truth"]: row["n_disputed"] for row in rows} == {"4": 3, "x+1": 1, "y": 1, "z": None}


def test_answers_that_were_compared_as_text_are_counted_and_say_so(journal: Journal, tmp_path: Path) -> None:
    summary = summarize(journal, manifest := make_manifest(n=4))
    assert summary.compared_as_text == summary.as_dict()["compared_as_text"] == 2
    assert summary.counts().compared_as_text == 2
    write_tables(journal, tmp_path, manifest.provenance, summary.completeness)
    rows = pq.read_table(tmp_path / "samples", columns=["verdict", "detail"]).to_pylist()
    assert [row["detail"] for row in rows if row["verdict"] == "wrong"].count(COMPARED_AS_TEXT) == 2
    assert {row["detail"] for row in rows if row["verdict"] == "grader_timeout"} == {"over 10 s"}


def test_a_truncated_answer_still_says_how_it_was_compared_and_a_ground_truth_why_it_fails() -> None:
    assert AS_TEXT.as_truncated() == Grade(Verdict.TRUNCATED, 0.0, "5", COMPARED_AS_TEXT)
    assert AS_TEXT.as_gold_check("x").detail == "'x' does not verify against itself"
    assert FAILED.as_gold_check("x").detail == "over 10 s"
