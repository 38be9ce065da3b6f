"""A run in numbers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spo_data.grading.verdict import Verdict
from spo_data.options import ToolOptions
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.provenance import ToolsRecord
from spo_data.run.journal import Journal
from spo_data.run.manifest import Counts, Timings
from spo_data.run.sample import Sample
from spo_data.run.summary import EXAMPLES, Summary, summarize
from support.records import GRADER, make_manifest

LETTERS = {
    "c": (Verdict.CORRECT, 1.0),
    "w": (Verdict.WRONG, 0.0),
    "n": (Verdict.NO_ANSWER, 0.0),
    "t": (Verdict.TRUNCATED, 0.0),
    "h": (Verdict.WRONG, 0.5),
    "g": (Verdict.GRADER_ERROR, None),
    "b": (Verdict.GOLD_UNPARSEABLE, None),
}
"""One letter per sample. `x` could not be drawn, and `-` was not tried yet."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        yield journal


def fill(journal: Journal, outcomes: list[str], dropped: tuple[DroppedRow, ...] = ()) -> list[Prompt]:
    prompts = [
        Prompt((Message("system", "s"), Message("user", f"Question\n {k}?")), f"gold {k}", "d")
        for k in range(len(outcomes))
    ]
    journal.set_prompts(prompts, dropped)
    for prompt, letters in zip(prompts, outcomes, strict=True):
        for index, letter in enumerate(letters):
            if letter == "x":
                journal.add_failure(prompt.prompt_id, index, "too long")
            elif letter != "-":
                verdict, score = LETTERS[letter]
                ids = np.zeros(10, dtype=np.int32)
                journal.add(Sample(prompt.prompt_id, index, 0, "r", ids, "stop", None, verdict, score))
    journal.commit()
    return prompts


def summary_of(journal: Journal, outcomes: list[str], **fields: Any) -> Summary:
    fill(journal, outcomes)
    return summarize(journal, make_manifest(n=max(map(len, outcomes)), **fields))


def lacking(summary: Summary) -> tuple[int, int, int, int]:
    """Samples that are not valid and not drawn, prompts that are unfinished and without a valid sample."""
    return summary.not_valid, summary.not_drawn, summary.unfinished, summary.prompts_without_value


def test_a_complete_run_is_counted(journal: Journal) -> None:
    summary = summary_of(journal, ["cccc", "cwwn", "wwwt", "cccw"])
    assert summary.complete
    assert (summary.prompts, summary.asked, summary.drawn, lacking(summary)) == (4, 16, 16, (0, 0, 0, 0))
    assert (summary.engine_failures, summary.errors, summary.prompts_with_value) == (0, {}, 4)
    assert summary.verdicts == {"correct": 8, "wrong": 6, "no_answer": 1, "truncated": 1}
    assert list(summary.verdicts) == ["correct", "wrong", "no_answer", "truncated"]
    assert (summary.value_low, summary.value_mean, summary.value_high) == (0.5, 0.5, 9 / 16)
    assert summary.histogram == [1, 1, 0, 1, 1]
    assert (summary.response_tokens, summary.response_tokens_mean) == (160, 10.0)
    assert (summary.model, summary.dataset, summary.rows, summary.duplicates) == ("org/model", "org/data", 40, 3)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["cw", "cw"], (0, 0, 0, 0)),
        (["ct", "nw"], (0, 0, 0, 0)),
        (["cg", "cw"], (1, 0, 0, 0)),
        (["cx", "cw"], (1, 0, 0, 0)),
        (["c-", "cw"], (0, 1, 1, 0)),
        (["x-", "cw"], (1, 1, 1, 0)),
        (["gg", "cw"], (2, 0, 0, 1)),
        (["xx", "cw"], (2, 0, 0, 1)),
        (["--", "cw"], (0, 2, 1, 0)),
        (["gx", "-g"], (3, 1, 1, 1)),
        (["b-", "cw"], (2, 0, 0, 1)),
        (["cb-", "c--"], (3, 2, 1, 1)),
    ],
)
def test_samples_that_failed_and_samples_that_are_not_drawn_yet_are_two_numbers(
    journal: Journal, outcomes: list[str], expected: tuple[int, int, int, int]
) -> None:
    """`missing` counted both. A prompt whose ground truth cannot be read is drawn no further: it is not unfinished."""
    summary = summary_of(journal, outcomes)
    assert lacking(summary) == expected
    assert summary.complete == (expected[:2] == (0, 0))


def test_bounds_count_truncated_failed_and_undrawn_samples(journal: Journal) -> None:
    """Samples still to come were left out: `show` said "mean value 0.74, bounds 0.74 to 0.74", the truth was 0.5."""
    summary = summary_of(journal, ["ctgx", "cw--", "----"])
    assert summary.value_mean == 1 / 2
    assert summary.value_low == pytest.approx((1 / 4 + 1 / 4 + 0) / 3)
    assert summary.value_high == pytest.approx((4 / 4 + 3 / 4 + 1) / 3)


def test_prompts_without_a_value_are_in_no_mean_and_no_bin_but_widen_the_bounds(journal: Journal) -> None:
    """The bounds left out prompts whose samples had all failed, as if nothing about them were unknown."""
    summary = summary_of(journal, ["gg", "cw", "xx", "--"])
    assert summary.value_mean == 0.5
    assert (summary.value_low, summary.value_high) == (0.5 / 4, 3.5 / 4)
    assert summary.histogram == [0, 1, 0]


def test_the_histogram_has_the_nearest_bin_for_prompts_with_fewer_samples_or_partial_scores(journal: Journal) -> None:
    summary = summary_of(journal, ["ccwx", "cwwg", "hhhh", "hwww", "ccc-", "gggg"])
    assert summary.histogram == [1, 1, 1, 1, 0]
    assert sum(summary.histogram) == summary.prompts_with_value


def test_errors_of_the_engine_and_dropped_rows_are_counted_by_reason(journal: Journal) -> None:
    dropped = (
        DroppedRow(1, "empty_prompt"),
        DroppedRow(5, "too_long", "9 tokens"),
        DroppedRow(9, "too_long", "8 tokens"),
    )
    (prompt,) = fill(journal, ["cxx"], dropped)
    journal.add_failure(prompt.prompt_id, 2, "other")
    summary = summarize(journal, make_manifest(n=3))
    assert (summary.errors, summary.engine_failures) == ({"other": 1, "too long": 1}, 2)
    assert summary.dropped == {"too_long": 2, "empty_prompt": 1}
    assert summary.counts() == Counts(
        dropped={"too_long": 2, "empty_prompt": 1},
        prompts=1,
        samples=1,
        verdicts={"correct": 1},
        compared_as_text=0,
        engine_failures=2,
        not_valid=2,
        not_drawn=0,
        unfinished=0,
        without_value=0,
    )


def test_a_dropped_row_makes_a_run_incomplete(journal: Journal) -> None:
    fill(journal, ["cw"], (DroppedRow(1, "empty_prompt"),))
    summary = summarize(journal, make_manifest(n=2))
    assert (lacking(summary), summary.complete) == ((0, 0, 0, 0), False)


def test_the_hardest_and_easiest_prompts_are_in_order_and_ties_in_the_datasets(journal: Journal) -> None:
    outcomes = ["cc", "ww", "cw", "gg", "cc", "ww", "cw", "cc", "ww", "ww"]
    prompts = fill(journal, outcomes)
    summary = summarize(journal, make_manifest(n=2))
    place = {prompt.prompt_id: k for k, prompt in enumerate(prompts)}
    assert [place[example.prompt_id] for example in summary.hardest] == [1, 5, 8, 9, 2]
    assert [place[example.prompt_id] for example in summary.easiest] == [0, 4, 7, 2, 6]
    assert len(summary.hardest) == EXAMPLES
    first = summary.hardest[0]
    assert (first.value, first.prompt, first.ground_truth) == (0.0, "Question 1?", "gold 1")


def test_speed_is_what_was_sampled_over_the_seconds_it_took(journal: Journal) -> None:
    timings = Timings(sampling_seconds=4.0, sampled=6, sampled_tokens=100)
    summary = summary_of(journal, ["cw"], timings=timings)
    assert (summary.samples_per_second, summary.tokens_per_second) == (1.5, 25.0)


def test_means_leave_out_what_the_interpreter_broke_off(journal: Journal) -> None:
    """The mean length counted partial responses, but the mean number of programs and the table of values did not."""
    (prompt,) = fill(journal, ["cw"])
    ids = np.zeros(40, dtype=np.int32)
    broken = Sample(prompt.prompt_id, 2, 0, "r", ids, "tool_error", None, Verdict.TOOL_ERROR, None, "503", tool_turns=4)
    whole = Sample(prompt.prompt_id, 3, 0, "r", ids, "stop", None, Verdict.WRONG, 0.0, tool_turns=3)
    for sample in (broken, whole):
        journal.add(sample)
    journal.commit()
    summary = summarize(journal, make_manifest({"tools": ToolsRecord.of(ToolOptions(tools="python"))}, n=4))
    assert (summary.response_tokens, summary.response_tokens_mean) == (100, 20.0)
    assert (summary.tool_turns_mean, summary.tool_errors) == (1.0, {"503": 1})


def test_no_list_is_made_that_has_an_entry_for_each_sample(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """All verdicts were read at once, which took gigabytes in a run of ten million samples."""
    lengths: list[int] = []
    query = Journal.query

    def measured(self: Journal, *arguments: Any) -> list[tuple[Any, ...]]:
        rows = query(self, *arguments)
        lengths.append(len(rows))
        return rows

    monkeypatch.setattr(Journal, "query", measured)
    assert summary_of(journal, ["cccccccc", "cwcwcwcw"]).value_mean == 0.75
    assert max(lengths) == 2


def test_an_empty_run_has_counts_and_no_means(journal: Journal) -> None:
    fill(journal, ["--", "--"])
    summary = summarize(journal, make_manifest(n=2))
    assert (summary.drawn, lacking(summary)) == (0, (0, 4, 2, 0))
    assert (summary.value_mean, summary.value_low, summary.value_high) == (None, 0.0, 1.0)
    assert (summary.response_tokens_mean, summary.samples_per_second, summary.tokens_per_second) == (None, None, None)
    assert (summary.hardest, summary.easiest, summary.histogram) == ([], [], [0, 0, 0])


def test_a_summary_becomes_json(journal: Journal) -> None:
    summary = summary_of(journal, ["cw", "gt"])
    read = json.loads(json.dumps(summary.as_dict()))
    assert read["complete"] is False
    assert read["verdicts"] == summary.verdicts
    assert read["hardest"][0]["prompt_id"] == summary.hardest[0].prompt_id


def test_suspects_have_their_share_and_those_with_few_possible_answers_are_counted(journal: Journal) -> None:
    golds = {"13": "12", "yes": "no", "B": "C", "7": "8"}
    prompts = [Prompt((Message("user", f"{gold}?"),), gold, "d") for gold in golds]
    journal.set_prompts(prompts, [])
    for prompt in prompts:
        for index in range(4):
            wrong = (golds[prompt.ground_truth], Verdict.WRONG, 0.0)
            given = wrong if index else (None, Verdict.NO_ANSWER, 0.0)
            journal.add(Sample(prompt.prompt_id, index, 0, "r", np.zeros(1, dtype=np.int32), "stop", *given))
    journal.commit()
    summary = summarize(journal, make_manifest(n=4))
    found = [(each.ground_truth, each.answer, each.samples, each.valid) for each in summary.suspects]
    assert found == [("13", "12", 3, 4), ("7", "8", 3, 4)]
    assert summary.few_answers == 2
