r"""The verifier `math-verify`: mathematical equality.

Plain numbers and lists of them are compared as exact fractions, ground truths in words as text, and all others by
`math_equal`. Verdicts on (ground truth, answer) pairs are cached, because samples of one prompt repeat each other. If a
response marks no answer, it is read as math-verify reads it ("the answer is …", else the last formula or number). If
it hedges, as in "1331 and 1728", the whole hedge is the answer.
"""

import re
from dataclasses import replace
from functools import lru_cache

from spo_data.grading.answers.dressing import to_latex
from spo_data.grading.answers.extract import extract_answer, find_last_box, strip_thinking
from spo_data.grading.comparing.compare import UnparseableGoldError, compare
from spo_data.grading.comparing.parser import find_last_expression
from spo_data.grading.reading.read import is_text
from spo_data.grading.verdict import COMPARED_AS_TEXT, NO_ANSWER, Grade, Verdict, too_long
from spo_data.grading.verifiers.base import TextVerifier

REMEMBERED = 20_000
REMEMBERED_CHARACTERS = 500
"""Longer pairs are not cached: they rarely repeat, and would fill the memory."""
TAIL = 1000
"""An unmarked answer is looked for in this many last characters, because math-verify's search is quadratic."""

_NUMBER = r"[+-]?(?:\d+(?:,\d{3})*+|\d+)(?:\.\d+)?(?:/\d+)?"
_WORD = r"(?:or|and|maybe|perhaps|possibly|probably|either|even)"
_NAME = r"(?:[A-Za-z]\s*=\s*)?"
_HEDGE = re.compile(
    rf"(?<![\w.])((?>{_NUMBER}(?:\s*,\s*{_NUMBER})*+)(?:\s*,?\s+{_WORD}(?:\s+{_WORD})*+\s+{_NAME}{_NUMBER})++)(?!\w|\.\d)"
)
_MAGNITUDE = re.compile(
    r"\s*\$?\s*(hundred|thousand|million|billion|trillion|dozen|percent|per cent|\\?%)(?![A-Za-z])", re.IGNORECASE
)
_SPACED_MINUS = re.compile(r"(?<![\w)}$])-\s+(?=\d)")
_DENIED = re.compile(r"\banswer is(?: not|n't)\b[^\n]*\Z", re.IGNORECASE)
_ATTACHED = re.compile(r"(?<=\d)(?:[A-Za-z]\w*|!+|\^\S+)")
_STATED = re.compile(
    rf"\banswer is:?\s+(?:\$(?P<formula>[^$\n]{{1,300}})\$"
    rf"|(?P<plain>{_NUMBER}|\[[^\[\]\n]{{1,100}}\]|\([^()\n]{{1,100}}\)))\s*[.!]?\s*\Z",
    re.IGNORECASE,
)
"""math-verify would find these too, but a hundred times slower."""


class MathVerifier(TextVerifier):
    """`math-verify`."""

    reads_thinking = True

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        answer = extract_answer(response) or (_find_stated_words if is_text(ground_truth) else _find_unmarked)(response)
        return NO_ANSWER if answer is None else _compare(answer, ground_truth)

    def grade_gold(self, ground_truth: str) -> Grade:
        return _compare(ground_truth, ground_truth)


def _compare(answer: str, ground_truth: str) -> Grade:
    if len(answer) + len(ground_truth) > REMEMBERED_CHARACTERS:
        return too_long(answer) or _grade_answer(ground_truth, answer)
    return _grade_cached(ground_truth, answer)


def _grade_answer(ground_truth: str, answer: str) -> Grade:
    try:
        compared = compare(ground_truth, answer)
    except UnparseableGoldError as error:
        return Grade.failed(Verdict.GOLD_UNPARSEABLE, str(error), answer)
    graded = Grade.scored(float(compared.equal), answer)
    return replace(graded, detail=COMPARED_AS_TEXT) if compared.by_text else graded


_grade_cached = lru_cache(maxsize=REMEMBERED)(_grade_answer)


def _find_unmarked(response: str) -> str | None:
    visible = strip_thinking(response)
    if visible is None or find_last_box(visible) is not None:  # an empty box is no answer
        return None
    tail = _SPACED_MINUS.sub("-", to_latex(visible[-TAIL:]))
    if _DENIED.search(tail):
        return None
    stated = _STATED.search(tail)
    if stated is not None:
        return stated["formula"] or stated["plain"]
    if not any(character.isdigit() or character in "$\\" for character in tail):
        return None
    found = find_last_expression(tail)
    if found is None:
        return None
    position = tail.rfind(found)
    hedges = (hedge for hedge in _HEDGE.finditer(tail) if hedge.start() <= position < hedge.end())
    magnitude = _MAGNITUDE.match(tail, position + len(found)) if position >= 0 else None
    attached = _ATTACHED.match(tail, position + len(found)) if position >= 0 else None
    if attached is not None:
        return found + attached[0]  # 8x is not 8
    return next((hedge[1] for hedge in hedges), f"{found} {magnitude[1]}" if magnitude else found)


def _find_stated_words(response: str) -> str | None:
    """The words after the last "answer is", else the last line if it is short."""
    visible = strip_thinking(response)
    if visible is None or find_last_box(visible) is not None:
        return None
    stated = _SAID.findall(visible[-TAIL:])
    last = visible.strip().rpartition("\n")[2].strip(" *_")
    return stated[-1].strip(" *_") if stated else last if 0 < len(last) <= LAST_LINE else None


_SAID = re.compile(r"\banswer is:?[ \t]+([^\n.]{1,100})", re.IGNORECASE)
LAST_LINE = 20
"""A last line of at most this many characters can be an answer in words."""
