r"""The verifier `math-verify`: mathematical equality.

The answer and the ground truth are read as what they are, and compared by a table of rules (`grading.comparing`).
Verdicts on (ground truth, answer) pairs are cached, because samples of one prompt repeat each other. If the ground
truth is an option's letter, the letter that the response chooses is the answer. If a response marks no answer, the
value that its end states is the answer.
"""

import re
from dataclasses import replace
from functools import lru_cache

from spo_data.grading.comparing.equality import UnparseableGoldError, compare
from spo_data.grading.finding.extract import find_answer
from spo_data.grading.finding.letters import find_letter, read_choice
from spo_data.grading.finding.sentences import find_value
from spo_data.grading.finding.thinking import strip_thinking
from spo_data.grading.finding.unmarked import find_stated_words, find_unmarked, predicate
from spo_data.grading.reading.dressing import undress
from spo_data.grading.reading.numbers import read_number
from spo_data.grading.reading.read import is_text
from spo_data.grading.verdict import COMPARED_AS_TEXT, NO_ANSWER, Grade, Verdict, too_long
from spo_data.grading.verifiers.base import TextVerifier
from spo_data.prompts.unanswerable import find_unanswerable

REMEMBERED = 20_000
REMEMBERED_CHARACTERS = 500
"""Longer pairs are not cached: they rarely repeat, and would fill the memory."""


class MathVerifier(TextVerifier):
    """`math-verify`."""

    reads_thinking = True

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        visible = strip_thinking(response)
        answer = None if visible is None else _read(visible, ground_truth)
        return NO_ANSWER if answer is None else _compare(answer, ground_truth)

    def grade_gold(self, ground_truth: str) -> Grade:
        return _compare(ground_truth, ground_truth)


_LETTER = re.compile(r"\(?[A-J]\)?")


def _read(visible: str, ground_truth: str) -> str | None:
    """The answer of a response without thinking; the ground truth says only whether a letter or words are asked for."""
    if _LETTER.fullmatch(undress(ground_truth)):
        answer = read_choice(visible) or find_stated_words(visible)
        return answer if answer is None else find_letter(answer) or answer
    marked = find_answer(visible, _is_no_letter)
    if marked is not None and marked.boxed:
        return marked.text
    if read_number(ground_truth) is None and is_text(ground_truth):
        return find_stated_words(visible) if marked is None else predicate(marked.text) or marked.text
    if marked is None:
        return find_unmarked(visible)
    if not marked.sure:
        return find_unmarked(visible) or find_value(marked.text) or marked.text
    return find_value(marked.text) or find_unmarked(marked.text) or marked.text


def _is_no_letter(answer: str) -> bool:
    return _LETTER.fullmatch(answer.strip(" .")) is None


def _compare(answer: str, ground_truth: str) -> Grade:
    if len(answer) + len(ground_truth) > REMEMBERED_CHARACTERS:
        return too_long(answer) or _grade_answer(ground_truth, answer)
    return _grade_cached(ground_truth, answer)


def _grade_answer(ground_truth: str, answer: str) -> Grade:
    unanswerable = find_unanswerable(ground_truth, "math-verify")
    if unanswerable is not None:
        return Grade.failed(Verdict.GOLD_UNPARSEABLE, unanswerable.detail, answer)
    try:
        compared = compare(ground_truth, answer)
    except UnparseableGoldError as error:
        return Grade.failed(Verdict.GOLD_UNPARSEABLE, str(error), answer)
    graded = Grade.scored(float(compared.equal), answer)
    return replace(graded, detail=COMPARED_AS_TEXT) if compared.by_text else graded


_grade_cached = lru_cache(maxsize=REMEMBERED)(_grade_answer)
