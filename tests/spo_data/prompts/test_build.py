"""From rows to prompts: every row in exactly one place, contradictions refused, an order-free fingerprint."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data import Message, UserError
from spo_data.grading.verifiers.registry import reading
from spo_data.prompts.build import PromptSet, build_prompt_set
from spo_data.prompts.differences import find_differences
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.prompts.rows import Rows, load_rows
from spo_data.prompts.template import BUILT_IN
from spo_data.text import excerpt

BOX = BUILT_IN["boxed"].removeprefix("{{ prompt }}")
FOUR = {"question": "2 + 2?", "answer": "4"}
SIX = {"question": "3 + 3?", "answer": "6"}
TEN = {"question": "5 + 5?", "answer": "10"}


def _row(question: Any, answer: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer}


def _set(rows: Sequence[dict[str, Any]], **options: Any) -> PromptSet:
    return build_prompt_set(Rows(rows, tuple(rows[0]) if rows else (), source="acme/math"), **options)


def _asked(prompts: PromptSet) -> list[str]:
    return [prompt.text.removesuffix(BOX) for prompt in prompts.prompts]


GOOD_ROWS = st.integers(0, 5).flatmap(
    lambda number: st.sampled_from([_row(f"{number} + 1?", f"{number + 1}"), _row(f" {number} + 1?", number + 1)])
)
BAD_ROWS = st.sampled_from(
    [
        (_row(None, "1"), "empty_prompt"),
        (_row(" ", "1"), "empty_prompt"),
        (_row("1 + 1?", None), "no_ground_truth"),
        (_row("1 + 1?", [None]), "no_ground_truth"),
        (_row("1 \ud800?", "1"), "not_unicode"),
    ]
)
ROWS_WITH_REASONS = st.lists(GOOD_ROWS.map(lambda row: (row, None)) | BAD_ROWS, min_size=1, max_size=30)


@given(ROWS_WITH_REASONS, st.none() | st.integers(1, 40), st.none() | st.integers(0, 3))
def test_every_row_ends_in_exactly_one_place(
    rows: list[tuple[dict[str, Any], str | None]], limit: int | None, shuffle_seed: int | None
) -> None:
    table = [row for row, _ in rows]
    reasons = {number: reason for number, (_, reason) in enumerate(rows)}
    try:
        found = _set(table, limit=limit, shuffle_seed=shuffle_seed, template="none")
    except UserError:
        assert limit is not None or all(reasons.values())
        return
    assert found.n_rows == min(len(rows), limit or len(rows))
    assert found.n_rows == len(found.prompts) + found.n_duplicates + len(found.dropped)
    assert all(reasons[drop.row] == drop.reason for drop in found.dropped)
    assert len({drop.row for drop in found.dropped}) == len(found.dropped)
    assert all(reasons[number] is None for number in found.rows)
    assert len({prompt.prompt_id for prompt in found.prompts}) == len(set(found.rows)) == len(found.prompts)
    assert [table[number]["question"].strip() for number in found.rows] == [prompt.text for prompt in found.prompts]
    assert sum(found.dropped_by_reason().values()) == len(found.dropped)


@given(ROWS_WITH_REASONS, st.data())
def test_dropping_prompts_later_keeps_the_account(
    rows: list[tuple[dict[str, Any], str | None]], data: st.DataObject
) -> None:
    before = _set([FOUR, *(row for row, _ in rows)])
    gone = data.draw(st.sets(st.sampled_from(before.rows)))
    after = before.without(DroppedRow(number, "prompt_too_long", "9 tokens") for number in gone)
    assert after.rows == tuple(number for number in before.rows if number not in gone)
    assert after.n_rows == len(after.prompts) + after.n_duplicates + len(after.dropped)
    assert after.dropped_by_reason().get("prompt_too_long", 0) == len(gone)
    assert after.dropped[: len(before.dropped)] == before.dropped


@given(st.permutations([FOUR, SIX, TEN, _row(" 2 + 2?", 4), _row("", "1")]))
def test_fingerprint_does_not_depend_on_the_order_of_rows(rows: list[dict[str, Any]]) -> None:
    assert _set(rows).fingerprint == _set([FOUR, SIX, TEN]).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        [FOUR, _row("3 + 3?", "7")],
        [FOUR],
        [FOUR, SIX, TEN],
        [FOUR, _row("3+3?", "6")],
        [_row("2 + 2?", "6"), _row("3 + 3?", "4")],
    ],
    ids=["gold", "fewer", "more", "wording", "swapped golds"],
)
def test_fingerprint_changes_with_any_prompt_or_gold(other: list[dict[str, Any]]) -> None:
    assert _set(other).fingerprint != _set([FOUR, SIX]).fingerprint


def test_fingerprint_does_not_depend_on_where_a_file_lies() -> None:
    assert _set([FOUR, {**SIX, "data_source": "elsewhere"}]).fingerprint == _set([FOUR, SIX]).fingerprint


def test_fingerprint_changes_with_the_instruction_and_the_system_prompt() -> None:
    prints = {
        _set([FOUR, SIX], **options).fingerprint for options in ({}, {"template": "none"}, {"system": "Be brief."})
    }
    assert len(prints) == 3


def test_duplicates_are_counted_and_the_first_row_stays() -> None:
    found = _set([FOUR, SIX, FOUR, _row("\n2 + 2?", " 4 "), FOUR])
    assert (found.rows, found.n_duplicates, found.dropped) == ((0, 1), 3, ())


def test_raw_dapo_with_every_prompt_a_hundred_times_gives_each_once() -> None:
    found = _set([FOUR, SIX, TEN] * 100)
    assert (len(found.prompts), found.n_duplicates, found.n_rows) == (3, 297, 300)


def test_one_prompt_with_two_golds_is_an_error_that_names_both() -> None:
    found = _set([FOUR, SIX, _row("2 + 2?", "5"), _row("2 + 2?", "6"), FOUR])
    with pytest.raises(UserError) as caught:
        found.refuse_contradictions()
    assert str(caught.value).startswith("the same prompt has two ground truths: row 0 says '4', row 2 says '5': 2 + 2?")
    assert str(caught.value).endswith("(and 1 more: spo-data check lists them)")
    assert "\n" not in str(caught.value)
    assert [(row.row, row.reason) for row in found.contradictions] == [
        (2, "contradictory_ground_truth"),
        (3, "contradictory_ground_truth"),
    ]
    assert [row.row for row in found.find_contradicted()] == [0]
    assert found.n_rows == len(found.prompts) + found.n_duplicates + len(found.contradictions) == 5


def test_a_repeated_prompt_that_the_verifier_reads_otherwise_is_refused_and_else_counted() -> None:
    """The first row's `extra_info` was taken silently, whatever the verifier did with the others'."""
    numbered = [{**FOUR, "extra_info": {"index": number}} for number in (0, 0, 1)]
    for verifier in ("math-verify", "reasoning-gym", "unknown"):
        found = _set(numbered, reads=reading(verifier))
        found.refuse_contradictions()
        assert (found.n_duplicates, found.n_differing) == (2, 1)
        assert found.prompts[0].extra_info == {"index": 0}
    for names in (("mine.py:compute_score",), ("math-verify", "mine.py:compute_score")):
        found = _set(numbered, reads=reading(*names))
        assert [(row.row, row.reason) for row in found.contradictions] == [(2, "contradictory_extra_info")]
        assert found.find_contradicted()[0].row == 0
        said = r'two values of extra_info, which the verifier reads: row 0 says {"index": 0}, row 2 says {"index": 1}: '
        with pytest.raises(UserError, match=re.escape(said)):
            found.refuse_contradictions()


def test_a_generated_problem_is_the_same_whatever_its_number() -> None:
    """A generator repeats itself: its problems differ in their index, and a size may be raised."""
    task = {"generator": "chain_sum", "parameters": {"seed": 0, "size": 9, "max_terms": 2}, "index": 0}
    others = [{**task, "index": 7}, {**task, "parameters": {**task["parameters"], "size": 99}}]  # type: ignore[dict-item]
    reads = reading("reasoning-gym")
    found = _set([{**FOUR, "extra_info": each} for each in (task, *others)], reads=reads)
    assert (found.n_duplicates, found.n_differing) == (2, 2)
    harder = {**task, "parameters": {**task["parameters"], "max_terms": 3}}  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"two values of extra_info.*\"max_terms\": 2.*\"max_terms\": 3"):
        _set([{**FOUR, "extra_info": each} for each in (task, harder)], reads=reads).refuse_contradictions()


def test_white_space_around_a_message_is_a_difference_of_the_rendering() -> None:
    """Ids ignore it, the model reads it."""
    plain, spaced = (Prompt((Message("user", text),), "4", "") for text in ("2 + 2?", "2 + 2? \n"))
    assert plain.prompt_id == spaced.prompt_id
    assert find_differences(plain, spaced, reading("exact")) == [("messages", "'2 + 2?'", "'2 + 2? \\n'")]


def test_a_contradiction_far_behind_the_first_rows_is_found() -> None:
    rows = [_row(f"{number} + 1?", str(number + 1)) for number in range(250)]
    with pytest.raises(UserError, match="row 3 says '4', row 250 says '0'"):
        _set([*rows, _row("3 + 1?", "0")]).refuse_contradictions()


def test_limit_counts_rows_not_prompts() -> None:
    found = _set([FOUR, FOUR, _row("", "1"), SIX, TEN], limit=4)
    assert (found.n_rows, found.n_duplicates, found.rows) == (4, 1, (0, 3))
    assert found.dropped == (DroppedRow(2, "empty_prompt"),)


@given(st.integers(1, 20), st.integers(1, 20), st.none() | st.integers(0, 5))
def test_a_higher_limit_only_adds_prompts(one: int, other: int, shuffle_seed: int | None) -> None:
    rows = [_row(f"{number} + 1?", str(number + 1)) for number in range(20)]
    low, high = sorted((one, other))
    few, many = (_set(rows, limit=limit, shuffle_seed=shuffle_seed) for limit in (low, high))
    assert many.rows[: len(few.rows)] == few.rows


def test_shuffle_is_the_seeds_own_and_comes_before_the_limit() -> None:
    rows = [_row(f"{number} + 1?", str(number + 1)) for number in range(200)]
    one, again, other = (_set(rows, limit=20, shuffle_seed=seed) for seed in (1, 1, 2))
    assert one.rows == again.rows != other.rows
    assert max(one.rows) >= 20
    assert _asked(one) == [f"{number} + 1?" for number in one.rows]


def test_shuffling_everything_keeps_the_fingerprint() -> None:
    rows = [_row(f"{number} + 1?", str(number + 1)) for number in range(200)]
    assert _set(rows, shuffle_seed=5).fingerprint == _set(rows).fingerprint


def test_dropped_rows_keep_their_position_and_reason() -> None:
    found = _set([_row("", "1"), FOUR, _row("x?", None), _row("y?", " "), _row("\ud800", "1")])
    assert found.dropped == (
        DroppedRow(0, "empty_prompt"),
        DroppedRow(2, "no_ground_truth"),
        DroppedRow(3, "no_ground_truth"),
        DroppedRow(4, "not_unicode"),
    )
    assert found.dropped_by_reason() == {"empty_prompt": 1, "no_ground_truth": 2, "not_unicode": 1}


def test_text_prompts_are_boxed_and_chat_prompts_left_alone_unless_asked() -> None:
    chat = {"messages": [{"role": "user", "content": "2 + 2?"}], "answer": "4"}
    assert _set([FOUR]).prompts[0].messages[-1].content == f"2 + 2?{BOX}"
    assert _set([chat]).prompts[0].messages[-1].content == "2 + 2?"
    assert _set([chat], template="boxed").prompts[0].messages[-1].content == f"2 + 2?{BOX}"
    assert _set([FOUR], template="none").prompts[0].messages[-1].content == "2 + 2?"


def test_a_system_prompt_comes_first_and_replaces_the_datasets() -> None:
    turns = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "2 + 2?"}]
    (with_own,) = _set([{"messages": turns, "answer": "4"}], system="Be brief.").prompts
    (without,) = _set([FOUR], system="Be brief.", template="none").prompts
    assert with_own.messages == without.messages == (Message("system", "Be brief."), Message("user", "2 + 2?"))
    assert _set([{"messages": turns, "answer": "4"}]).prompts[0].messages[0] == Message("system", "Be long.")


def test_two_prompts_that_differ_in_the_replaced_system_prompt_only_become_one() -> None:
    rows = [
        {"messages": [{"role": "system", "content": system}, {"role": "user", "content": "2 + 2?"}], "answer": "4"}
        for system in ("one", "two")
    ]
    assert (len(_set(rows).prompts), len(_set(rows, system="Be brief.").prompts)) == (2, 1)


def test_data_source_is_the_rows_or_the_datasets_name() -> None:
    found = _set([{**FOUR, "data_source": "math_dapo"}, {**SIX, "data_source": None}, TEN])
    assert [prompt.data_source for prompt in found.prompts] == ["math_dapo", "acme/math", "acme/math"]


def test_a_generated_row_brings_its_task_and_any_other_its_extra_info() -> None:
    row = {**FOUR, "task": {"generator": "chain_sum", "parameters": {}, "index": 0}}
    generated = build_prompt_set(Rows([row], tuple(row), source="reasoning-gym:chain_sum"))
    assert generated.prompts[0].extra_info == row["task"]
    assert _set([row]).prompts[0].extra_info is None
    assert _set([{**FOUR, "extra_info": {"index": 3, "tests": ["a"]}}]).prompts[0].extra_info == {
        "index": 3,
        "tests": ["a"],
    }
    for nothing in (None, {}, "text", 5):
        assert _set([{**FOUR, "extra_info": nothing}]).prompts[0].extra_info is None


def test_extra_info_is_what_json_can_hold_so_that_a_resumed_run_grades_with_the_same() -> None:
    row = {**FOUR, "extra_info": {"when": datetime.date(2024, 5, 6), "raw": b"x", "deep": {"n": (1, 2)}}}
    assert _set([row]).prompts[0].extra_info == {"when": "2024-05-06", "raw": "b'x'", "deep": {"n": [1, 2]}}


def test_named_columns_are_used() -> None:
    found = _set([{"task": "2 + 2?", "gold": {"value": 4}}], prompt_column="task", answer_column="gold.value")
    assert (found.layout.name, found.prompts[0].ground_truth) == ("named", "4")


def test_a_dataset_without_rows_is_refused() -> None:
    with pytest.raises(UserError, match="--dataset acme/math has no rows"):
        _set([])


def test_a_dataset_without_one_good_row_says_why() -> None:
    with pytest.raises(UserError, match=r"none of 2 rows is a prompt \(empty_prompt\)"):
        _set([_row("", "1"), _row(" ", "2")])


def test_rows_are_read_once_and_lazily_up_to_the_limit() -> None:
    def endless() -> Any:
        number = 0
        while True:
            yield _row(f"{number} + 1?", str(number + 1))
            number += 1

    found = build_prompt_set(Rows(endless(), ("question", "answer"), source="endless"), limit=150)
    assert len(found.prompts) == 150


@pytest.mark.parametrize(("text", "shown"), [("a\n b", "a b"), ("x" * 10, "xxxx…"), ("abcde", "abcde")])
def test_an_excerpt_is_one_short_line(text: str, shown: str) -> None:
    assert excerpt(text, 5) == shown


def test_a_line_that_is_no_json_and_a_row_with_too_many_fields_are_one_dropped_row_each(tmp_path: Path) -> None:
    lines_of_json = '{"question": "1 + 1?", "answer": "2"}\n{"question": \n[1]\n'
    (tmp_path / "a.jsonl").write_text(lines_of_json, encoding="utf-8-sig")
    (tmp_path / "a.csv").write_text("question,answer\n1 + 1?,2,3\n2 + 2?,4\n", encoding="utf-8-sig")
    lines = build_prompt_set(load_rows(str(tmp_path / "a.jsonl")))
    fields = build_prompt_set(load_rows(str(tmp_path / "a.csv")))
    assert (len(lines.prompts), lines.dropped_by_reason()) == (1, {"not_a_json_object": 2})
    assert (len(fields.prompts), fields.dropped_by_reason()) == (1, {"more_fields_than_columns": 1})
