r"""Finding ground truths that may be wrong, and ground truths that leak into their own prompts.

    find_agreed_answer([(Verdict.WRONG, "12"), (Verdict.WRONG, "12.0"), (Verdict.WRONG, "$12$")])     # "12"
    find_leaked_answer("What is 6 * 7? The answer is 42.", "42")                                      # "42"

If a policy gives the same wrong answer every time, the ground truth itself may be wrong. It is suspect if all answers
agree, no sample is correct, and at least three samples and half of the valid ones give an answer.

A ground truth leaks only if the problem marks it as an answer: in a box, `<answer>…</answer>`, an "Answer:" or "####"
line, "the answer is …", or as the whole last line. A number in the problem, or one of its options, is no leak.
"""

import re
from collections.abc import Iterable

from spo_data.grading.answers.extract import find_boxes
from spo_data.grading.answers.numbers import read_number
from spo_data.grading.answers.wording import fold
from spo_data.grading.verdict import Verdict

LEAST_ANSWERS = 3


def find_agreed_answer(samples: Iterable[tuple[Verdict, str | None]]) -> str | None:
    """The agreed answer that makes the ground truth suspect, in the first sample's wording; None if there is none."""
    valid = [(verdict, answer) for verdict, answer in samples if verdict.is_observation]
    if any(verdict is Verdict.CORRECT for verdict, _ in valid):
        return None
    answers = [answer for verdict, answer in valid if verdict is Verdict.WRONG and answer]
    if len(answers) < LEAST_ANSWERS or 2 * len(answers) < len(valid):
        return None
    return answers[0] if len(set(map(_make_key, answers))) == 1 else None


def _make_key(answer: str) -> object:
    """A key that is equal for two answers if they are plainly the same."""
    number = read_number(answer)
    if number is not None:
        return number.value, number.percent
    return "".join(fold(answer).replace("dfrac", "frac").replace("tfrac", "frac").split())


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
