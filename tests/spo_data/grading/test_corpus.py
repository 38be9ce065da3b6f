"""Every case of the corpus gets the verdict that it deserves, whatever was graded before it."""

from collections.abc import Iterable

import pytest

from spo_data.grading.comparing import parser
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers import math_verify as math_verifier
from spo_data.grading.verifiers.registry import load_verifier
from support.grading_corpus import CASES, Case


def _id(case: Case) -> str:
    return f"{case.verifier}: {case.reason.removeprefix(case.verifier + ': ')}"


SCORES = {Verdict.CORRECT: 1.0, Verdict.WRONG: 0.0, Verdict.NO_ANSWER: 0.0, Verdict.GOLD_UNPARSEABLE: None}


@pytest.mark.parametrize("case", CASES, ids=[_id(case) for case in CASES])
def test_a_response_gets_the_verdict_that_it_deserves(case: Case) -> None:
    graded = _judge(case)
    assert graded.verdict is case.verdict, (case.reason, graded)
    assert graded.score == SCORES[case.verdict]
    if case.verdict is not Verdict.GOLD_UNPARSEABLE:  # a gold may be refused before the response is read
        assert (graded.answer is None) == (case.verdict is Verdict.NO_ANSWER)


def test_the_corpus_is_large_and_says_why_of_every_case() -> None:
    assert len({(case.verifier, case.gold, case.response) for case in CASES}) == len(CASES) >= 320
    reasons = [case.reason for case in CASES]
    assert all(reason.strip() for reason in reasons)
    repeated = {reason for reason in reasons if reasons.count(reason) > 1}
    assert not repeated


def test_the_corpus_has_every_verdict_of_every_verifier() -> None:
    seen = {(case.verifier, case.verdict) for case in CASES}
    for verifier in ("math-verify", "choice", "exact", "dapo"):
        assert {(verifier, verdict) for verdict in (Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER)} <= seen
    assert {("math-verify", Verdict.GOLD_UNPARSEABLE), ("choice", Verdict.GOLD_UNPARSEABLE)} <= seen


def _forget() -> None:
    import math_verify.parser
    from sympy.core.cache import clear_cache

    math_verifier._grade_cached.cache_clear()
    parser.parse.cache_clear()
    math_verify.parser.parse_latex_cached.cache_clear()
    clear_cache()


def _misjudged(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.verdict is not _judge(case).verdict]


def _judge(case: Case) -> Grade:
    return load_verifier(case.verifier).grade(case.response, case.gold)


@pytest.mark.slow
def test_the_order_of_grading_does_not_matter() -> None:
    """The caches of math-verify, sympy and our own first know nothing, and then all cases.

    The cases are graded backwards and then forwards, so each one comes before and after each other one.
    """
    _forget()
    assert _misjudged(reversed(CASES)) == []
    assert _misjudged(CASES) == []
