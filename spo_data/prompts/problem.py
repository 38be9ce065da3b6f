"""Read one row as a problem: its messages and ground truth, with the options of a multiple choice.

read_problem({"question": "Capital of France?", "choices": ["Lyon", "Paris"], "answer": 1}, layout)
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from spo_data.prompts.choices import find_options, letter_prompt, shows_letters
from spo_data.prompts.columns import Layout, gold_value, row_ground_truth, row_messages
from spo_data.prompts.contents import refuse_media
from spo_data.prompts.identity import Message

_LETTER = re.compile(r"\(?[A-J]\)?\.?")


class Problem(NamedTuple):
    """What a row asks, before the answer instruction and the system prompt."""

    messages: tuple[Message, ...]
    ground_truth: str
    is_choice: bool
    """Whether the ground truth is a letter of options that the row or its prompt holds."""
    has_written_options: bool
    """Whether the options were written into the last message."""


def read_problem(row: Mapping[str, Any], layout: Layout) -> Problem:
    """Return a row's problem; raises BadRowError with the reason if it is none that a text policy can answer."""
    messages = row_messages(row, layout)
    refuse_media(row, "\n".join(message.content for message in messages))
    ground_truth = row_ground_truth(row, layout)
    *before, last = messages
    options = find_options(row, layout.answer_column, last.content)
    lettered = options and letter_prompt(last.content, _choice_gold(row, layout, ground_truth), options)
    if not lettered:
        return Problem(messages, ground_truth, is_choice_gold(ground_truth) and shows_letters(last.content), False)
    text, letter = lettered
    return Problem((*before, Message(last.role, text)), letter, True, text != last.content)


def is_choice_gold(ground_truth: str) -> bool:
    """Whether a ground truth is a letter from A to J."""
    return _LETTER.fullmatch(ground_truth) is not None


def _choice_gold(row: Mapping[str, Any], layout: Layout, ground_truth: str) -> Any:
    """A number is a position, which its text does not tell; a gsm8k answer is what follows its mark."""
    value = gold_value(row, layout.answer_column)
    return value if isinstance(value, (int, float)) else ground_truth
