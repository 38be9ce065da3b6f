"""Finding ground truths that leak into their own prompts.

    find_leaked_answer("What is 6 * 7? The answer is 42.", "42")     # "42"

A ground truth leaks only if the problem marks it as an answer: in a box, `<answer>…</answer>`, an "Answer:" or "####"
line, "the answer is …", or as the whole last line. A number in the problem, or one of its options, is no leak.
"""

import re

from spo_data.grading.finding.boxes import find_boxes
from spo_data.grading.reading.numbers import read_number
from spo_data.grading.reading.words import fold

_MARKED = (
    re.compile(r"<answer>(.{1,400}?)</answer>", re.DOTALL),
    re.compile(r"^[ \t*#]*(?:(?:final[ \t]+)?answer|solution)[ \t*]*:[ \t*]*(\S[^\n]{0,400})$", re.MULTILINE | re.I),
    re.compile(r"^[ \t]*####[ \t]*(\S[^\n]{0,400})$", re.MULTILINE),
    re.compile(r"\banswer(?:[ \t]{1,4}is|[ \t]{0,4}=)[ \t]{0,4}:?[ \t]{0,4}(\S(?:[^\n.,;]|[.,](?=\d)){0,400})", re.I),
)

_SENTENCE = re.compile(r"[A-Za-z]{2,}[^A-Za-z]+[A-Za-z]+.*[A-Za-z]|[A-Za-z].*[?=:]\s*$")


def find_leaked_answer(text: str, ground_truth: str) -> str | None:
    """The marked answer in a problem's text that equals its ground truth; None if there is none."""
    marked = [*find_boxes(text), *(match[1] for pattern in _MARKED for match in pattern.finditer(text))]
    *before, last = [line for line in text.splitlines() if line.strip()] or [""]
    if before and _SENTENCE.search(before[-1]):  # below a line of data, the last line is data too
        marked.append(last)
    longest = 4 * len(ground_truth) + 100
    return next((words.strip() for words in marked if len(words) <= longest and _agree(words, ground_truth)), None)


def _agree(words: str, ground_truth: str) -> bool:
    number, gold = read_number(words), read_number(ground_truth)
    if number is not None and gold is not None:
        return number.value == gold.value
    return bool(fold(words)) and fold(words) == fold(ground_truth)
