"""Recognise which columns of a dataset hold the prompt and the ground truth.

Recognised layouts; the first match wins:

    verl          prompt (messages) + reward_model.ground_truth
    dapo          prompt (text) + solution                        DAPO-Math-17k-Processed
    messages      messages + ground_truth | answer | solution     and prompt (messages) with one of these
    problem       problem + answer, Problem + Answer
    gsm8k         question + answer that ends in "#### 42"
    question      question + answer
    prompt        prompt (text) + ground_truth | answer

and then, also with capitals and with spaces for _ (`Correct Answer`), the same with `final_answer`, `expected_answer`,
`correct_answer`, `answerKey` or `verification_info.ground_truth`, and ORZ's `0.value` + `1.ground_truth.value`.

`--prompt-column` and `--answer-column` name other columns; a dot reaches into a struct (`reward_model.ground_truth`),
also if the column holds it as JSON text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from spo_data.errors import UserError
from spo_data.prompts.choices import normal_name
from spo_data.prompts.contents import is_messages, read_content, read_messages
from spo_data.prompts.identity import Message
from spo_data.prompts.rows import BadRowError
from spo_data.prompts.stored_json import read_stored

GSM8K_MARK = "####"


@dataclass(frozen=True)
class Layout:
    """The columns in which a dataset keeps its prompts and ground truths."""

    name: str
    prompt_column: str
    answer_column: str
    is_messages: bool
    """True if the prompt column holds complete chat messages, which bring their own answer instruction."""


def recognise(
    columns: Sequence[str],
    first_rows: Sequence[Mapping[str, Any]],
    *,
    prompt_column: str | None = None,
    answer_column: str | None = None,
) -> Layout:
    """Return the layout of a dataset, judged by its first rows (some of which may be bad).

    Raises UserError, naming the dataset's columns, if no layout fits.
    """
    for option, column in (("--prompt-column", prompt_column), ("--answer-column", answer_column)):
        if column is not None and column not in columns and all(reach(row, column) is None for row in first_rows):
            raise UserError(f"{option} {column}: no such column; the columns are {', '.join(columns)}")
        if column is not None and all(reach(row, column) is None for row in first_rows):
            raise UserError(f"{option} {column}: no value in the first {len(first_rows)} rows")
    if prompt_column is not None and answer_column is not None:
        has_messages = any(is_messages(reach(row, prompt_column)) for row in first_rows)
        return Layout("named", prompt_column, answer_column, has_messages)
    candidates, further = _CANDIDATES, [*_CANDIDATES, *_FURTHER]
    if prompt_column is not None:
        candidates = [("named", prompt_column, answer, kind) for answer in _ANSWERS for kind in (True, False)]
        further = [("named", prompt_column, answer, kind) for answer in _FURTHER_ANSWERS for kind in (True, False)]
    elif answer_column is not None:
        candidates = [("named", prompt, answer_column, kind) for prompt in _PROMPTS for kind in (True, False)]
        further = candidates
    # Exact names first: a column such as Solution must not replace the answer of a layout that has always been read.
    spelt = [
        (name, _spelling(prompt, columns), _spelling(answer, columns), kind) for name, prompt, answer, kind in further
    ]
    for layout in (Layout(*candidate) for candidate in [*candidates, *spelt]):
        if any(_fits(row, layout) for row in first_rows):
            return layout
    raise UserError(
        f"no known column layout in {', '.join(columns)}: name the columns with --prompt-column and --answer-column"
        + _describe_ungraded(columns)
    )


def row_messages(row: Mapping[str, Any], layout: Layout) -> tuple[Message, ...]:
    """Return the row's prompt as messages, before system prompt and answer instruction; raises BadRowError."""
    value = reach(row, layout.prompt_column)
    if not layout.is_messages:
        text = None if is_messages(value) else read_content(value)
        if text is None or not text.strip():
            raise BadRowError("empty_prompt")
        return (Message("user", _check_unicode(text.strip())),)
    messages = read_messages(value)
    if messages is None:
        raise BadRowError("bad_messages")
    messages = tuple(Message(message.role, _check_unicode(message.content)) for message in messages)
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise BadRowError("empty_prompt")
    if messages[-1].role != "user":
        raise BadRowError("prompt_ends_in_a_response")
    return messages


def row_ground_truth(row: Mapping[str, Any], layout: Layout) -> str:
    """Return the row's ground truth as text; raises BadRowError if it is missing.

    A list of one is its element. A list of several is JSON text, of alternatives if they are texts or numbers.
    """
    value = gold_value(row, layout.answer_column)
    if value is None or value != value:  # NaN differs from itself
        raise BadRowError("no_ground_truth")
    if isinstance(value, dict):
        fields = ", ".join(f"{layout.answer_column}.{field}" for field in value) or "none"
        raise BadRowError("ground_truth_is_a_struct", f"its fields, for --answer-column: {fields}")
    if isinstance(value, (date, time)) or (isinstance(value, float) and abs(value) >= 2**53):
        raise BadRowError("ground_truth_lost_to_type_inference")
    gold = _check_unicode(_write_list(value) if isinstance(value, list) else str(value))
    if layout.name == "gsm8k" and GSM8K_MARK not in gold:
        raise BadRowError("no_ground_truth")
    if layout.name in ("gsm8k", "named"):
        gold = gold.rpartition(GSM8K_MARK)[2]
    if not gold.strip():
        raise BadRowError("no_ground_truth")
    return gold.strip()


def gold_value(row: Mapping[str, Any], answer_column: str) -> Any:
    """Return the value of the answer column; of a list of one text or number, the element."""
    value = reach(row, answer_column)
    if isinstance(value, str):
        stored = read_stored(value)  # [1, 2] is an interval, but ["5"] is a list
        return stored[0] if isinstance(stored, list) and len(stored) == 1 and isinstance(stored[0], str) else value
    if not isinstance(value, (list, tuple)):
        return value
    items = [item for item in value if item is not None and item == item and item != ""]
    distinct = [item for number, item in enumerate(items) if item not in items[:number]]
    is_one = len(distinct) == 1 and not isinstance(distinct[0], (list, dict))
    return distinct[0] if is_one else distinct or None


def reach(row: Mapping[str, Any], column: str) -> Any:
    """Return the value of a column, or of a field of a struct; None if there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        value = read_stored(value)
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


# (name, prompt column, answer column, whether the prompt column holds messages)
_CANDIDATES = [
    ("verl", "prompt", "reward_model.ground_truth", True),
    ("dapo", "prompt", "solution", False),
    *(("messages", "messages", answer, True) for answer in ("ground_truth", "answer", "solution")),
    *(("messages", "prompt", answer, True) for answer in ("ground_truth", "answer", "solution")),
    ("problem", "problem", "answer", False),
    ("problem", "Problem", "Answer", False),
    ("gsm8k", "question", "answer", False),
    ("question", "question", "answer", False),
    *(("prompt", "prompt", answer, False) for answer in ("ground_truth", "answer")),
]
_PROMPTS = ("prompt", "messages", "problem", "Problem", "question")
_ANSWERS = ("reward_model.ground_truth", "ground_truth", "answer", "Answer", "solution")
_FURTHER_ANSWERS = (
    *("final_answer", "expected_answer", "correct_answer", "answerKey"),
    *("verification_info.ground_truth", *_ANSWERS),
)
_FURTHER = [
    *(("messages", "messages", answer, True) for answer in _FURTHER_ANSWERS[:5]),
    *(("messages", "prompt", answer, True) for answer in _FURTHER_ANSWERS[:5]),
    *((name, name, answer, False) for name in ("problem", "question", "prompt") for answer in _FURTHER_ANSWERS[:5]),
    ("orz", "0.value", "1.ground_truth.value", False),
]


def _spelling(column: str, columns: Sequence[str]) -> str:
    """Return a candidate's column as the dataset spells it, whatever its capitals and spaces."""
    head, dot, rest = column.partition(".")
    return next((name + dot + rest for name in columns if normal_name(name) == normal_name(head)), column)


def _fits(row: Mapping[str, Any], layout: Layout) -> bool:
    value, gold = reach(row, layout.prompt_column), reach(row, layout.answer_column)
    if value is None or gold is None or is_messages(value) != layout.is_messages:
        return False
    if layout.is_messages and read_stored(value)[-1]["role"] != "user":
        return False  # a finished conversation is no prompt
    return layout.name != "gsm8k" or GSM8K_MARK in str(gold)


def _describe_ungraded(columns: Sequence[str]) -> str:
    """Return what to do about a set of programs or instructions, which has no ground truth."""
    named = {normal_name(column): column for column in columns}
    for name in ("test_cases", "tests", "test_list", "input_output", "instruction_id_list", "kwargs", "constraints"):
        if name in named:
            return (
                f"; {named[name]} is no answer that a response could equal: to grade by it, give --answer-column"
                f" {named[name]} and a function that checks it, --verifier FILE.py:FUNCTION"
            )
    return ""


def _write_list(value: list[Any]) -> str:
    """Return alternatives as JSON texts, so that [1, 2] is no interval, and other lists as JSON."""
    is_plain = all(isinstance(item, (str, int, float)) for item in value)
    return json.dumps([str(item).strip() for item in value] if is_plain else value, ensure_ascii=False, default=str)


def _check_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError("not_unicode") from error
    return text
