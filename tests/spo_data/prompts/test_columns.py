"""Where a dataset keeps its prompts and ground truths: every layout, bad rows, named columns, refusals."""

from collections.abc import Mapping
from typing import Any

import pytest

from spo_data import Message, UserError
from spo_data.prompts.columns import BadRowError, Layout, recognise, row_ground_truth, row_messages

QUESTION = "What is 2 + 2?"
CHAT = [{"role": "user", "content": QUESTION}]
CHAT_WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *CHAT]

DAPO_PROCESSED = {
    "prompt": QUESTION,
    "solution": "34",
    "data_source": "math_dapo",
    "source_prompt": [{"role": "user", "content": f"Solve the following math problem step by step.\n\n{QUESTION}"}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4-a1cb-49d1-8c1e-62eaf2f74079"},
}
VERL = {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": f"Solve the following math problem step by step.\n\n{QUESTION}"}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "34", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4-a1cb-49d1-8c1e-62eaf2f74079"},
}


def _recognise(*rows: Mapping[str, Any], **named: str) -> Layout:
    return recognise(list(rows[0]), rows, **named)


@pytest.mark.parametrize(
    ("row", "name", "prompt_column", "answer_column", "is_messages"),
    [
        (VERL, "verl", "prompt", "reward_model.ground_truth", True),
        (DAPO_PROCESSED, "dapo", "prompt", "solution", False),
        ({"prompt": QUESTION, "solution": "4"}, "dapo", "prompt", "solution", False),
        ({"messages": CHAT, "ground_truth": "4"}, "messages", "messages", "ground_truth", True),
        ({"messages": CHAT, "answer": "4"}, "messages", "messages", "answer", True),
        ({"messages": CHAT, "solution": "4"}, "messages", "messages", "solution", True),
        ({"prompt": CHAT, "ground_truth": "4"}, "messages", "prompt", "ground_truth", True),
        ({"prompt": CHAT, "answer": "4"}, "messages", "prompt", "answer", True),
        ({"prompt": CHAT, "solution": "4"}, "messages", "prompt", "solution", True),
        ({"problem": QUESTION, "answer": "4", "solution": "2 + 2 is 4."}, "problem", "problem", "answer", False),
        ({"Problem": QUESTION, "Answer": "4"}, "problem", "Problem", "Answer", False),
        ({"question": QUESTION, "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}, "gsm8k", "question", "answer", False),
        ({"question": QUESTION, "answer": "4"}, "question", "question", "answer", False),
        ({"question": QUESTION, "answer": 4}, "question", "question", "answer", False),
        ({"prompt": QUESTION, "ground_truth": "4"}, "prompt", "prompt", "ground_truth", False),
        ({"prompt": QUESTION, "answer": "4"}, "prompt", "prompt", "answer", False),
    ],
)
def test_every_documented_layout_is_recognised(
    row: Mapping[str, Any], name: str, prompt_column: str, answer_column: str, is_messages: bool
) -> None:
    layout = _recognise(row)
    assert layout == Layout(name, prompt_column, answer_column, is_messages)
    assert QUESTION in row_messages(row, layout)[-1].content
    assert row_ground_truth(row, layout) in {"4", "34"}


def test_dapo_processed_is_read_from_its_plain_prompt() -> None:
    layout = _recognise(DAPO_PROCESSED)
    assert row_messages(DAPO_PROCESSED, layout) == (Message("user", QUESTION),)
    assert row_ground_truth(DAPO_PROCESSED, layout) == "34"


def test_messages_keep_their_system_prompt_and_history() -> None:
    turns = [*CHAT_WITH_SYSTEM, {"role": "assistant", "content": "5"}, {"role": "user", "content": "No."}]
    row = {"messages": turns, "answer": "4"}
    assert row_messages(row, _recognise(row)) == tuple(Message(turn["role"], turn["content"]) for turn in turns)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("#### 42", "42"),
        ("One.\n#### 1,234 ", "1,234"),
        ("#### 1 is not it\n#### 2", "2"),
        ("It costs\n####-3", "-3"),
    ],
)
def test_gsm8k_gold_is_what_follows_the_last_mark(answer: str, gold: str) -> None:
    row = {"question": QUESTION, "answer": answer}
    assert row_ground_truth(row, _recognise(row)) == gold


@pytest.mark.parametrize(
    ("gold", "text"),
    [("4", "4"), (" 4\n", "4"), (4, "4"), (-7, "-7"), (0, "0"), (2.5, "2.5"), (False, "False"), (2**70, str(2**70))],
)
def test_a_gold_is_read_as_stripped_text(gold: Any, text: str) -> None:
    row = {"question": QUESTION, "answer": gold}
    assert row_ground_truth(row, _recognise({"question": QUESTION, "answer": "4"})) == text


@pytest.mark.parametrize("gold", [None, "", " \n", [], [""], [None], [float("nan")], '[""]'])
def test_a_row_without_a_gold_is_bad(gold: Any) -> None:
    layout = _recognise({"question": QUESTION, "answer": "4"})
    with pytest.raises(BadRowError, match="no_ground_truth"):
        row_ground_truth({"question": QUESTION, "answer": gold}, layout)


def test_a_gold_that_is_not_a_number_is_bad() -> None:
    """A float column's NaN is a missing value, yet it became the ground truth "nan"."""
    layout = _recognise({"question": QUESTION, "answer": 4.0})
    with pytest.raises(BadRowError, match="no_ground_truth"):
        row_ground_truth({"question": QUESTION, "answer": float("nan")}, layout)


@pytest.mark.parametrize("answer", ["no mark here", "####", "#### \n"])
def test_a_gsm8k_row_without_a_marked_answer_is_bad(answer: str) -> None:
    layout = _recognise({"question": QUESTION, "answer": "#### 4"})
    with pytest.raises(BadRowError, match="no_ground_truth"):
        row_ground_truth({"question": QUESTION, "answer": answer}, layout)


@pytest.mark.parametrize("prompt", [None, "", " \n\t", 5, CHAT])
def test_a_row_without_prompt_text_is_bad(prompt: Any) -> None:
    layout = _recognise({"question": QUESTION, "answer": "4"})
    with pytest.raises(BadRowError, match="empty_prompt"):
        row_messages({"question": prompt, "answer": "4"}, layout)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "bad_messages"),
        ([], "bad_messages"),
        (QUESTION, "bad_messages"),
        ([QUESTION], "bad_messages"),
        ([{"role": "user"}], "bad_messages"),
        ([{"role": "user", "content": None}], "bad_messages"),
        ([{"role": "user", "content": []}], "bad_messages"),
        ([{"role": "user", "content": [{"type": "tool_use", "id": 1}]}], "bad_messages"),
        ([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}], "has_image"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x.png"}}]}], "has_image"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "has_audio"),
        ([{"content": QUESTION}], "bad_messages"),
        ([{"role": "user", "content": " "}], "empty_prompt"),
        ([{"role": "system", "content": QUESTION}], "empty_prompt"),
        ([*CHAT, {"role": "assistant", "content": "4"}], "prompt_ends_in_a_response"),
        ([*CHAT, {"role": "system", "content": "Be brief."}], "prompt_ends_in_a_response"),
    ],
)
def test_bad_messages_say_why(messages: Any, reason: str) -> None:
    layout = _recognise({"messages": CHAT, "answer": "4"})
    with pytest.raises(BadRowError, match=reason):
        row_messages({"messages": messages, "answer": "4"}, layout)


def test_a_lone_surrogate_in_prompt_messages_or_gold_is_a_bad_row() -> None:
    text, chat = _recognise({"question": QUESTION, "answer": "4"}), _recognise({"messages": CHAT, "answer": "4"})
    with pytest.raises(BadRowError, match="not_unicode"):
        row_messages({"question": "2 + 2 \ud800", "answer": "4"}, text)
    with pytest.raises(BadRowError, match="not_unicode"):
        row_messages({"messages": [{"role": "user", "content": "\udfff?"}], "answer": "4"}, chat)
    with pytest.raises(BadRowError, match="not_unicode"):
        row_ground_truth({"question": QUESTION, "answer": "4\ud800"}, text)


@pytest.mark.parametrize(
    ("bad", "good", "name"),
    [
        ({**VERL, "reward_model": None}, VERL, "verl"),
        ({**VERL, "prompt": []}, VERL, "verl"),
        ({**DAPO_PROCESSED, "prompt": None}, DAPO_PROCESSED, "dapo"),
        ({"question": QUESTION, "answer": None}, {"question": QUESTION, "answer": "4"}, "question"),
        ({"question": QUESTION, "answer": "no mark"}, {"question": QUESTION, "answer": "#### 4"}, "gsm8k"),
    ],
)
def test_a_bad_first_row_does_not_hide_the_layout(bad: dict[str, Any], good: dict[str, Any], name: str) -> None:
    assert _recognise(bad, good).name == name


@pytest.mark.parametrize(
    ("row", "prompt_column", "answer_column", "is_messages"),
    [
        ({"task": QUESTION, "target": "4"}, "task", "target", False),
        ({"task": CHAT, "target": "4"}, "task", "target", True),
        ({"task": {"text": QUESTION}, "gold": {"parsed": {"value": "4"}}}, "task.text", "gold.parsed.value", False),
        ({"task.text": QUESTION, "task": {"text": "another"}, "target": "4"}, "task.text", "target", False),
        ({**DAPO_PROCESSED, "solution": "35"}, "source_prompt", "reward_model.ground_truth", True),
    ],
)
def test_named_columns_reach_anything(
    row: dict[str, Any], prompt_column: str, answer_column: str, is_messages: bool
) -> None:
    layout = _recognise(row, prompt_column=prompt_column, answer_column=answer_column)
    assert layout == Layout("named", prompt_column, answer_column, is_messages)
    assert QUESTION in row_messages(row, layout)[-1].content
    assert row_ground_truth(row, layout) in {"4", "34"}


@pytest.mark.parametrize(
    ("row", "named", "prompt_column", "answer_column"),
    [
        ({"task": QUESTION, "answer": "4"}, {"prompt_column": "task"}, "task", "answer"),
        ({"question": QUESTION, "target": "4"}, {"answer_column": "target"}, "question", "target"),
        ({**VERL, "gold": "4"}, {"answer_column": "gold"}, "prompt", "gold"),
        ({"task": CHAT, "answer": "4"}, {"prompt_column": "task"}, "task", "answer"),
    ],
)
def test_one_named_column_leaves_the_other_to_the_layout(
    row: dict[str, Any], named: dict[str, str], prompt_column: str, answer_column: str
) -> None:
    layout = _recognise(row, **named)
    assert (layout.prompt_column, layout.answer_column) == (prompt_column, answer_column)
    assert row_ground_truth(row, layout) == "4"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"prompt_column": "quest"}, "--prompt-column quest: no such column; the columns are question, answer"),
        (
            {"answer_column": "answer.value"},
            "--answer-column answer.value: no such column; the columns are question, answer",
        ),
    ],
)
def test_a_named_column_that_is_missing_is_refused_with_the_ones_there_are(named: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        _recognise({"question": QUESTION, "answer": "4"}, **named)
    assert str(caught.value) == said


def test_a_named_column_without_values_is_not_called_missing() -> None:
    """A column that exists and is null in the first rows was refused as "no such column; there are question, gold"."""
    with pytest.raises(UserError) as caught:
        _recognise({"question": QUESTION, "gold": None}, prompt_column="question", answer_column="gold")
    assert "gold" in str(caught.value)
    assert "no such column" not in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"text": QUESTION, "label": "4"},
        {"question": QUESTION, "label": "4"},
        {"prompt": CHAT, "reward_model": {"style": "rule"}},
        {"question": None, "answer": None},
    ],
)
def test_an_unknown_layout_names_the_columns_and_the_options(row: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        _recognise(row)
    assert ", ".join(row) in str(caught.value)
    assert "--prompt-column and --answer-column" in str(caught.value)


def test_a_dataset_with_worked_conversations_is_read_from_its_problem_column() -> None:
    """OpenR1-Math and NuminaMath have problem, answer and a finished conversation in `messages`.

    The conversation was read instead of the problem, and every row was dropped because it ends in a response.
    """
    row = {"problem": QUESTION, "answer": "4", "messages": [*CHAT, {"role": "assistant", "content": "It is 4."}]}
    assert _recognise(row) == Layout("problem", "problem", "answer", False)
