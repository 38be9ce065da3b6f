r"""Ground truths that leak into their own prompts.

    leaked_answer("What is 6 * 7? The answer is 42.", "42")     # "42"

Only what is marked as an answer counts (a box, `<answer>…</answer>`, an "Answer:" or "####" line, "the answer is …", a
last line that is nothing but the ground truth): a number in the problem, or one of its options, is no leak.
"""

import re

from spo_data.grading.extract import all_boxed
from spo_data.grading.numbers import read_number
from spo_data.grading.wording import folded

_MARKED = (
    re.compile(r"<answer>(.{1,400}?)</answer>", re.DOTALL),
    re.compile(r"^[ \t*#]*(?:(?:final[ \t]+)?answer|solution)[ \t*]*:[ \t*]*(\S[^\n]{0,400})$", re.MULTILINE | re.I),
    re.compile(r"^[ \t]*####[ \t]*(\S[^\n]{0,400})$", re.MULTILINE),
    re.compile(r"\banswer(?:[ \t]{1,4}is|[ \t]{0,4}=)[ \t]{0,4}:?[ \t]{0,4}(\S(?:[^\n.,;]|[.,](?=\d)){0,400})", re.I),
)
_SENTENCE = re.compile(r"[A-Za-z]{2,}[^A-Za-z]+[A-Za-z]+.*[A-Za-z]|[A-Za-z].*[?=:]\s*$")


def leaked_answer(text: str, ground_truth: str) -> str | None:
    """The marked answer in a problem's text that is its ground truth; None where there is none."""
    marked = [*all_boxed(text), *(match[1] for pattern in _MARKED for match in pattern.finditer(text))]
    *before, last = [line for line in text.splitlines() if line.strip()] or [""]
    if before and _SENTENCE.search(before[-1]):  # below a line of data, it is one more
        marked.append(last)
    longest = 4 * len(ground_truth) + 100
    return next((words.strip() for words in marked if len(words) <= longest and _same(words, ground_truth)), None)


def _same(words: str, ground_truth: str) -> bool:
    number, gold = read_number(words), read_number(ground_truth)
    if number is not None and gold is not None:
        return number.value == gold.value
    return bool(folded(words)) and folded(words) == folded(ground_truth)
