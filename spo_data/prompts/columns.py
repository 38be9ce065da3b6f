"""Recognise which columns of a dataset hold the prompt and the ground truth.

Recognised layouts; the first match wins:

    verl          prompt (messages) + reward_model.ground_truth
    dapo          prompt (text) + solution                        DAPO-Math-17k-Processed
    messages      messages + ground_truth | answer | solution     and prompt (messages) with one of these
    problem       problem + answer, Problem + Answer
    gsm8k         question + answer that ends in "#### 42"
    question      question + answer
    prompt        prompt (text) + ground_truth | answer

`--prompt-column` and `--answer-column` name other columns; a dot reaches into a struct (`reward_model.ground_truth`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from spo_data.errors import UserError
from spo_data.prompts.identity import Message
from spo_data.prompts.rows import BadRowError

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
        if column is not None and column not in columns and all(_reach(row, column) is None for row in first_rows):
            raise UserError(f"{option} {column}: no such column; the columns are {', '.join(columns)}")
        if column is not None and all(_reach(row, column) is None for row in first_rows):
            raise UserError(f"{option} {column}: no value in the first {len(first_rows)} rows")
    if prompt_column is not None and answer_column is not None:
        is_messages = any(_is_messages(_reach(row, prompt_column)) for row in first_rows)
        return Layout("named", prompt_column, answer_column, is_messages)
    candidates = _CANDIDATES
    if prompt_column is not None:
        candidates = [("named", prompt_column, answer, kind) for answer in _ANSWERS for kind in (True, False)]
    elif answer_column is not None:
        candidates = [("named", prompt, answer_column, kind) for prompt in _PROMPTS for kind in (True, False)]
    for layout in (Layout(*candidate) for candidate in candidates):
        if any(_fits(row, layout) for row in first_rows):
            return layout
    raise UserError(
        f"no known column layout in {', '.join(columns)}: name the columns with --prompt-column and --answer-column"
    )


def row_messages(row: Mapping[str, Any], layout: Layout) -> tuple[Message, ...]:
    """Return the row's prompt as messages, before system prompt and answer instruction; raises BadRowError."""
    value = _reach(row, layout.prompt_column)
    if not layout.is_messages:
        if not isinstance(value, str) or not value.strip():
            raise BadRowError("empty_prompt")
        return (Message("user", _check_unicode(value.strip())),)
    if not _is_messages(value):
        raise BadRowError("bad_messages")
    messages = tuple(Message(str(turn["role"]), _check_unicode(turn["content"])) for turn in value)
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise BadRowError("empty_prompt")
    if messages[-1].role != "user":
        raise BadRowError("prompt_ends_in_a_response")
    return messages


def row_ground_truth(row: Mapping[str, Any], layout: Layout) -> str:
    """Return the row's ground truth as text; raises BadRowError if it is missing."""
    value = _reach(row, layout.answer_column)
    if value is None or value != value or isinstance(value, (list, dict)):  # NaN differs from itself
        raise BadRowError("no_ground_truth")
    if isinstance(value, (date, time)) or (isinstance(value, float) and abs(value) >= 2**53):
        raise BadRowError("ground_truth_lost_to_type_inference")
    gold = _check_unicode(str(value))
    if layout.name == "gsm8k" and GSM8K_MARK not in gold:
        raise BadRowError("no_ground_truth")
    if layout.name in ("gsm8k", "named"):
        gold = gold.rpartition(GSM8K_MARK)[2]
    if not gold.strip():
        raise BadRowError("no_ground_truth")
    return gold.strip()


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


def _fits(row: Mapping[str, Any], layout: Layout) -> bool:
    value, gold = _reach(row, layout.prompt_column), _reach(row, layout.answer_column)
    if value is None or gold is None or _is_messages(value) != layout.is_messages:
        return False
    if layout.is_messages and value[-1]["role"] != "user":
        return False  # a finished conversation is no prompt
    return layout.name != "gsm8k" or GSM8K_MARK in str(gold)


def _reach(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(
            isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
            for turn in value
        )
    )


def _check_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError("not_unicode") from error
    return text
