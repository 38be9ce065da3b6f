r"""Extracting the answer that a response marks.

    extract_answer(r"<think>\boxed{1}</think> It is \boxed{2}.")            # "2"
    extract_answer(r"The roots are \boxed{2} and \boxed{3}.")               # "2, 3"
    extract_answer("First \\boxed{5}, then more.\n\nFinal answer: **7**")   # "7"

Thinking is stripped first: nothing in it is an answer, even if it never ends. Then the last mark in the response
counts: a box that holds something, or one of `marks`. A box in a marked text is read instead of that text. Every step
is linear in the response's length.
"""

import re
from collections.abc import Callable, Iterator

from spo_data.grading.finding.boxes import BoxedAnswer, boxed_answers
from spo_data.grading.finding.marks import MarkedAnswer, find_marks, strip_announcement
from spo_data.grading.finding.thinking import strip_thinking

_NEW_TASK = re.compile(
    r"\byour turn\b|\b(?:following|next|new|this|another)\s+(?:problem|question|task|exercise)\b"
    r"|^\W{0,6}(?:question|problem|exercise|task)\b[^\n]{0,20}[:.]|\?(?=\s|$)",
    re.IGNORECASE | re.MULTILINE,
)


def accept_all(_text: str) -> bool:
    """Accept any answer."""
    return True


def extract_answer(response: str) -> str | None:
    """The final answer in the response's own wording; None if it marks none."""
    visible = strip_thinking(response)
    answer = None if visible is None else find_answer(visible)
    return None if answer is None else answer.text


def find_answer(visible: str, accepts: Callable[[str], bool] = accept_all) -> MarkedAnswer | None:
    """The last marked answer that is accepted, else the last one; `visible` is a response without thinking."""
    fallback: MarkedAnswer | None = None
    for answer in _find_answers(visible):
        if answer.sure and accepts(answer.text):
            return answer
        if fallback is None or (answer.sure and not fallback.sure):
            fallback = answer
    return fallback


def _find_answers(text: str) -> Iterator[MarkedAnswer]:
    """The marked answers from the last to the first."""
    boxes = boxed_answers(text)
    last, empty = _next_boxes(boxes)
    if last is None:
        yield from find_marks(text, 0, len(text))
    elif empty is not None and _NEW_TASK.search(text, last.end, empty.start):
        yield from find_marks(text, empty.end, len(text))  # the box before it answers another problem
    else:
        yield from find_marks(text, last.end, len(text))
        yield _answer(last)
        others = [_answer(box) for box in boxes if box.text]
        yield from sorted([*others, *find_marks(text, 0, last.start)], reverse=True)


def _next_boxes(boxes: Iterator[BoxedAnswer]) -> tuple[BoxedAnswer | None, BoxedAnswer | None]:
    """The last box that holds something, and the first empty one after it."""
    empty = None
    for box in boxes:
        if strip_announcement(box.text):
            return box, empty
        empty = box
    return None, empty


def _answer(box: BoxedAnswer) -> MarkedAnswer:
    return MarkedAnswer(box.start, strip_announcement(box.text), boxed=True)
