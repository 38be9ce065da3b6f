"""What differs between two rows of the same prompt: a rendering and a verdict depend on more than the prompt's id.

    find_differences(before, after, reads)        # [Difference("extra_info", '{"index": 1}', '{"index": 2}')]

Equal ids allow different white space around a message, which the model reads. A verdict depends on the ground truth,
and on whatever else the verifier reads of a row (`spo_data.grading.verifiers.registry.reading`). An `extra_info` that
no verifier reads may differ: many datasets number their rows there.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spo_data.prompts.identity import Message, Prompt

Reading = Callable[[Prompt], Mapping[str, Any]]
"""Returns what verifiers read of a prompt beside its messages and ground truth, by field."""
SHOWN = 120
"""Characters of a value in a message."""


class Difference(NamedTuple):
    """A field that differs, with both values as text for a message."""

    field: str
    before: str
    after: str


def find_differences(before: Prompt, after: Prompt, reads: Reading) -> list[Difference]:
    """Return what differs between two prompts with the same id, of all that a sample or its verdict depends on."""
    found = []
    for old, new in zip(before.messages, after.messages, strict=True):
        if old != new:
            found.append(Difference("messages", *_show_messages(old, new)))
            break
    if before.ground_truth != after.ground_truth:
        found.append(Difference("ground_truth", repr(before.ground_truth), repr(after.ground_truth)))
    return found + find_read_differences(before, after, reads)


def find_read_differences(before: Prompt, after: Prompt, reads: Reading) -> list[Difference]:
    """Return what differs between two prompts of what verifiers read beside messages and ground truth."""
    old, new = reads(before), reads(after)
    return [
        Difference(field, _shorten(shown), _shorten(now))
        for field in old
        if old[field] != new[field]  # most are equal, and this is quick
        and (shown := _canonical(old[field])) != (now := _canonical(new[field]))
    ]


def _canonical(value: Any) -> str:
    """Return JSON that is equal for equal values, of tuples and lists alike, as the journal stores them."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _show_messages(old: Message, new: Message) -> tuple[str, str]:
    """Return the end of two messages if their ends differ, else their start."""
    at_the_end = old.content[-1:] != new.content[-1:] or old.content.lstrip() == new.content.lstrip()
    part = slice(-30, None) if at_the_end else slice(30)
    return repr(old.content[part]), repr(new.content[part])


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
