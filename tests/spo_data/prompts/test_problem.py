r"""Rows as public datasets have them, in cases of our own: options, images, lists, content parts, JSON; stable ids."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from spo_data import UserError
from spo_data.prompts.build import PromptSet, build_prompt_set
from spo_data.prompts.choices import ASK
from spo_data.prompts.identity import DroppedRow, Message, Prompt
from spo_data.prompts.rows import Rows


def _set(*rows: Mapping[str, Any], **options: Any) -> PromptSet:
    return build_prompt_set(Rows(rows, tuple(rows[0]), source="acme/set"), template="none", **options)


def _one(**row: Any) -> Prompt:
    (prompt,) = _set(row).prompts
    return prompt


def _dropped(**row: Any) -> DroppedRow:
    plain = {**dict.fromkeys(row), "question": "1 + 1?", "answer": "2"}
    (dropped,) = _set(plain, {"question": "Which?", **row}).dropped
    return dropped


def _turn(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _lettered(question: str, *options: str) -> str:
    return "\n".join(
        [question, "", *(f"{letter}. {text}" for letter, text in zip("ABCDEFGHIJ", options, strict=False))]
    )


# Multiple choice.

FRUITS = ("apple", "pear", "plum", "fig")


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        ({"choices": list(FRUITS), "answer": 2}, "C"),  # MMLU
        ({"choices": list(FRUITS), "answer": 2.0}, "C"),
        ({"options": list(FRUITS), "answer": "D", "answer_index": 3}, "D"),  # MMLU-Pro
        ({"options": list(FRUITS), "answer": "pear"}, "B"),  # SuperGPQA
        ({"options": [*FRUITS, None, ""], "answer": "(b)"}, "B"),
        ({"options": [f"{letter}){text}" for letter, text in zip("ABCD", FRUITS, strict=True)], "answer": "A"}, "A"),
        ({"options": str(list(FRUITS)), "answer": "C"}, "C"),  # MMMU: a list as Python prints it
        ({"options": json.dumps(FRUITS), "answer": "C. plum"}, "C"),
        ({"choices": {"text": list(FRUITS), "label": ["1", "2", "3", "4"]}, "answerKey": "3"}, "C"),  # ARC
        ({"choices": {"text": list(FRUITS), "label": list("ABCD")}, "answerKey": "A"}, "A"),
        ({"options": dict(zip("ABCD", FRUITS, strict=True)), "answer": "fig"}, "D"),  # MedQA
        ({"options": [{"key": k, "value": v} for k, v in zip("ABCD", FRUITS, strict=True)], "answer": "B"}, "B"),
        ({**dict(zip("ABCD", FRUITS, strict=True)), "answer": "B"}, "B"),  # C-Eval
        ({**dict(zip(("opa", "opb", "opc", "opd"), FRUITS, strict=True)), "answer": "plum"}, "C"),
        ({**dict(zip(("Option A", "Option B", "Option C", "Option D"), FRUITS, strict=True)), "Answer": "C"}, "C"),
    ],
)
def test_options_of_the_row_are_written_below_the_problem(row: dict[str, Any], letter: str) -> None:
    """The question was sampled without its options, and its ground truth was `2`."""
    question = "Question" if "Answer" in row else "question"
    prompt = _one(**{question: "Which is a stone fruit?", **row})
    assert prompt.text == f"{_lettered('Which is a stone fruit?', *FRUITS)}\n\n{ASK}"
    assert prompt.ground_truth == letter


def test_an_option_list_of_numbers_is_answered_by_value_and_one_of_texts_by_position() -> None:
    assert _one(question="2 + 2?", options=[3, 4, 5], answer=4).ground_truth == "B"
    assert _one(question="2 + 2?", options=["3", "4", "5"], answer=0).ground_truth == "A"
    assert _one(question="2 + 2?", options=["3", "4", "5"], answer="5").ground_truth == "C"


GPQA = {
    "Question": "Which particle?",
    "Correct Answer": "boson\n",
    **{f"Incorrect Answer {k}": text for k, text in enumerate(("fermion", "anyon", "photino"), start=1)},
    "Pre-Revision Incorrect Answer 1": "quark",
}


def test_gpqa_is_shuffled_by_a_hash_of_the_problem_that_no_row_number_or_order_changes() -> None:
    """The correct answer comes first in its columns."""
    first, again = _one(**GPQA), _one(**dict(reversed(GPQA.items())))
    assert first.prompt_id == again.prompt_id == "288875137f4dc531afe3436859b709ab"
    assert f"\n{first.ground_truth}. boson\n" in first.text
    assert "quark" not in first.text
    letters = {_one(**{**GPQA, "Question": f"Which of {k}?"}).ground_truth for k in range(40)}
    assert letters == set("ABCD")


def test_distractors_are_wrong_options() -> None:
    prompt = _one(question="Which?", correct_answer="plum", distractor1="ant", distractor2="bee", distractor3="cat")
    assert {line[3:] for line in prompt.text.splitlines()[2:6]} == {"ant", "bee", "cat", "plum"}
    assert f"\n{prompt.ground_truth}. plum" in prompt.text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"options": list(FRUITS), "answer": "cherry"}, "gold_not_an_option"),
        ({"options": list(FRUITS), "answer": "E"}, "gold_not_an_option"),
        ({"options": list(FRUITS), "answer": 4}, "gold_not_an_option"),
        ({"options": ["B", "A"], "answer": "A"}, "gold_names_two_options"),
        ({"options": ["4", "4", "5"], "answer": "4"}, "gold_names_two_options"),
        ({"options": ["apple", "", "plum"], "answer": "A"}, "empty_option"),
        ({"options": list(FRUITS), "answer": None}, "no_ground_truth"),
    ],
)
def test_a_ground_truth_that_names_no_single_option_drops_the_row(row: dict[str, Any], reason: str) -> None:
    assert _dropped(**row).reason == reason


def test_options_below_a_chat_are_written_into_its_last_message() -> None:
    turns = [{"role": "system", "content": "Be brief."}, *_turn("Which?")]
    prompt = _one(messages=turns, options=["4", "7"], answer="B")
    assert prompt.messages == (Message("system", "Be brief."), Message("user", f"Which?\n\nA. 4\nB. 7\n\n{ASK}"))


def test_what_was_written_and_which_ground_truths_are_letters_is_counted() -> None:
    shown = "Which?\n(A) 4\n(B) 7\n(C) 9"
    found = _set(
        {"question": "Which?", "options": ["4", "7"], "answer": "7"},
        {"question": shown, "options": ["4", "7", "9"], "answer": "B"},
        {"question": f"{shown} cm", "options": None, "answer": "B"},
        {"question": "Which letter comes second?", "options": None, "answer": "B"},
    )
    assert (found.written_options, found.choices) == ({0}, {0, 1, 2})


def test_a_position_becomes_a_letter_if_the_prompt_shows_letters_and_short_options_are_no_coincidence() -> None:
    shown = "Which is prime? (A) 4 (B) 7 (C) 9"
    assert (_one(question=shown, options=["4", "7", "9"], answer=1).text) == shown
    assert (_one(question=shown, options=["4", "7", "9"], answer=1).ground_truth) == "B"
    assert ASK in _one(question="Of 4, 7 and 9 eggs, how many are left?", options=["4", "7", "9"], answer="B").text


# Images.

PNG = {"bytes": b"\x89PNG", "path": None}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image": PNG, "answer": "3"}, "has_image"),
        ({"images": [PNG], "answer": "3"}, "has_image"),
        ({"images": [{"bytes": None, "path": "1.png"}], "answer": "3"}, "has_image"),
        ({"decoded_image": object(), "answer": "3"}, "has_image"),
        ({"image_7": "images/7.JPG", "answer": "3"}, "has_image"),
        ({"image": "data:image/png;base64,AAAA", "answer": "3"}, "has_image"),
        ({"diagram": PNG, "answer": "3"}, "has_image"),
        ({"images": '["1.png"]', "answer": "3"}, "has_image"),
        ({"question": "<image>\nFind x.", "images": ["fig-1"], "answer": "3"}, "has_image"),
        ({"video": "clip.mp4", "answer": "3"}, "has_video"),
        ({"audio": {"bytes": b"RIFF", "path": "a.wav"}, "answer": "3"}, "has_audio"),
    ],
)
def test_a_row_with_an_image_is_dropped(row: dict[str, Any], reason: str) -> None:
    """Its `<image>` was sampled as text, and every response was a guess."""
    assert _dropped(**row).reason == reason


def test_a_dataset_of_images_alone_is_refused_and_says_why() -> None:
    with pytest.raises(UserError, match=r"none of 1 rows is a prompt \(has_image: in the column images; the policy"):
        _set({"problem": "<image>Find x.", "images": [PNG], "answer": "3"})


# Lists, content parts and JSON text.


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        (["\\frac{1}{2}"], "\\frac{1}{2}"),  # OlympiadBench
        ([4], "4"),
        (["4", "4"], "4"),
        (["4", None], "4"),
        (["2", "3"], '["2", "3"]'),
        ([1, 2], '["1", "2"]'),
        ('["\\\\frac{1}{2}"]', "\\frac{1}{2}"),  # Skywork-OR1: JSON text
        ('["1", "-1"]', '["1", "-1"]'),
        ("[1, 2]", "[1, 2]"),
        ("[1]", "[1]"),
        ([{"input": "1", "output": "2"}], '[{"input": "1", "output": "2"}]'),
    ],
)
def test_a_list_of_one_is_its_element_and_others_are_json(gold: Any, text: str) -> None:
    assert _one(question="Find x.", final_answer=gold).ground_truth == text


def test_a_struct_for_a_ground_truth_names_its_fields() -> None:
    dropped = _dropped(answer={"target": ["a"], "numbers": [1]})
    assert dropped == DroppedRow(
        1, "ground_truth_is_a_struct", "its fields, for --answer-column: answer.target, answer.numbers"
    )


def test_content_parts_are_the_text_they_hold() -> None:
    """They were called bad messages."""
    parts = [{"type": "text", "text": "Given x = 1.", "image": None}, {"type": "text", "text": "Find x + 1."}]
    assert _one(messages=_turn(parts), answer="2").messages == (Message("user", "Given x = 1.\nFind x + 1."),)
    assert _one(messages=_turn(parts[1:]), answer="2").prompt_id == _one(prompt="Find x + 1.", answer="2").prompt_id
    assert _one(prompt=parts[1:], answer="2").text == "Find x + 1."


@pytest.mark.parametrize("write", [json.dumps, str])
def test_json_text_in_columns_is_what_it_holds(write: Any) -> None:
    """A prompt was sampled as `[{"role": "user", …`."""
    row = {"prompt": _turn("1 + 1?"), "reward_model": {"ground_truth": '["2"]'}, "extra_info": {"index": 3}}
    written = _one(**{name: write(value) for name, value in row.items()})
    assert written == _one(**row)
    assert (written.ground_truth, written.extra_info) == ("2", {"index": 3})


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"question": "q", "final_answer": "4"}, "4"),  # DeepMath
        ({"problem": "q", "expected_answer": "4", "generated_solution": "…"}, "4"),  # OpenMathReasoning
        ({"Question": "q", "Answer": "4", "Picture": None}, "4"),  # TheoremQA
        ({"Question": "q", "Correct Answer": "4"}, "4"),
        ({"prompt": "q", "verification_info": '{"ground_truth": "4"}'}, "4"),  # SYNTHETIC, INTELLECT-2
        ({"0": {"from": "human", "value": "q"}, "1": {"ground_truth": {"value": "4"}}}, "4"),  # ORZ
        ({"Prompt": "q", "answer": "4", "Solution": "long"}, "long"),
        ({"prompt": "q", "answer": "4", "Solution": "long"}, "4"),
    ],
)
def test_further_column_names_are_recognised_after_the_exact_ones(row: dict[str, Any], gold: str) -> None:
    prompt = _one(**row)
    assert (prompt.text, prompt.ground_truth) == ("q", gold)


@pytest.mark.parametrize("column", ["test_cases", "instruction_id_list"])
def test_a_set_without_ground_truths_says_what_can_grade_it(column: str) -> None:
    with pytest.raises(UserError, match=f"--answer-column {column} and a function that checks it, --verifier FILE.py:"):
        _set({"prompt": "Write.", column: ["a"]})
    (prompt,) = _set(
        {"prompt": "Write.", column: ["assert f(1) == 2", "assert f(2) == 3"]}, answer_column=column
    ).prompts
    assert json.loads(prompt.ground_truth) == ["assert f(1) == 2", "assert f(2) == 3"]


# Rows that were always read keep their ids: values, samples and training rows are joined by them.


@pytest.mark.parametrize(
    ("row", "prompt_id", "gold"),
    [
        (
            {"problem": r"Which? $\textbf{(A)}\ 12\qquad\textbf{(B)}\ 13\qquad\textbf{(C)}\ 14$", "answer": "B"},
            "70f193cdb0bdd2a4cb2d81e2fe57a1cb",
            "B",
        ),
        (
            {
                "question": "Which?\nA. twelve\nB. thirteen\nC. fourteen",
                "options": ["twelve", "thirteen", "fourteen"],
                "answer": "B",
            },
            "442583fee153334780558ff7a047fca9",
            "B",
        ),
        (
            {"question": "Which? A)21 B)21.5 C)22", "options": ["A)21", "B)21.5", "C)22"], "answer": "(C)"},
            "31f0587c8594abf2f48970d4d6621f88",
            "(C)",
        ),
        (
            {"question": "Is iron or wood heavier?", "choices": ["iron", "wood"], "answer": "iron"},
            "f55c017fd85b8d61eae3241118dcf3f9",
            "iron",
        ),
        ({"question": "q", "choices": None, "answer": "1.5"}, "a29aa89dcef13485f00102f1300f535f", "1.5"),
        ({"question": "q", "A": 1.5, "B": 2.5, "answer": "4"}, "a29aa89dcef13485f00102f1300f535f", "4"),
        (
            {"question": "q", "image": None, "images": [], "image_1": "", "answer": "1"},
            "a29aa89dcef13485f00102f1300f535f",
            "1",
        ),
        ({"question": "q", "image": "python:3.11-slim", "answer": "1"}, "a29aa89dcef13485f00102f1300f535f", "1"),
        ({"question": "[1, 2, 3]", "answer": "{1, 2}"}, "1999e4721efa0c83de8e5f2ccffe61be", "{1, 2}"),
    ],
)
def test_ids_and_ground_truths_of_rows_that_were_read_before_never_change(
    row: dict[str, Any], prompt_id: str, gold: str
) -> None:
    (prompt,) = build_prompt_set(Rows([row], tuple(row), source="acme/set")).prompts
    assert (prompt.prompt_id, prompt.ground_truth) == (prompt_id, gold)
