"""Suspect ground truths: prompts whose samples agree on an answer, which is not the ground truth.

    agreed_answer([(Verdict.WRONG, "12"), (Verdict.WRONG, "12.0"), (Verdict.WRONG, "$12$")])     # "12"

A policy that gives the same answer every time is seldom wrong by chance: the ground truth may be. All answers must
agree, none may be graded correct, and at least three samples and half of the valid ones must give one: fewer prove
nothing.
"""

from collections.abc import Iterable

from spo_data.grading.numbers import read_number
from spo_data.grading.verdict import Verdict
from spo_data.grading.wording import folded

LEAST_ANSWERS = 3


def agreed_answer(samples: Iterable[tuple[Verdict, str | None]]) -> str | None:
    """The answer, as the first sample words it, that makes the ground truth suspect; None where nothing does."""
    valid = [(verdict, answer) for verdict, answer in samples if verdict.is_observation]
    if any(verdict is Verdict.CORRECT for verdict, _ in valid):
        return None
    answers = [answer for verdict, answer in valid if verdict is Verdict.WRONG and answer]
    if len(answers) < LEAST_ANSWERS or 2 * len(answers) < len(valid):
        return None
    return answers[0] if len(set(map(_value, answers))) == 1 else None


def _value(answer: str) -> object:
    """Equal for answers that are plainly the same."""
    number = read_number(answer)
    if number is not None:
        return number.value, number.percent
    return "".join(folded(answer).replace("dfrac", "frac").replace("tfrac", "frac").split())
