"""The library as it is, whatever the corrected verifier has replaced in the same process."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers import math_verify_plain
from spo_data.grading.verifiers.registry import load_verifier
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool

CORRECT, WRONG, NO_ANSWER = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER

DIFFERING = [
    ("1/2^{98}", r"\boxed{1/2^{99}}", CORRECT, WRONG, "numbers are compared to 15 decimals"),
    ("42", r"\boxed{41}", WRONG, WRONG, "both tell these apart"),
    ("R+1", r"\boxed{r+1}", CORRECT, WRONG, "capitals become lower case"),
    ("11", r"\boxed{5 6}", CORRECT, WRONG, "numbers side by side are added"),
    ("42", r"<think>\boxed{42}", CORRECT, NO_ANSWER, "thinking is read"),
    ("42", "", NO_ANSWER, NO_ANSWER, "nothing is no answer"),
]
"""Ground truth, response, the library's verdict, and that of `math-verify`."""


def judge(verifier: str, gold: str, response: str) -> Grade:
    return load_verifier(verifier).grade(response, gold)


@pytest.fixture
def loads_again() -> Iterator[None]:
    """Forget the library's copy before and after a test."""
    for cached in (math_verify_plain._load_copy, math_verify_plain._parse_gold):
        cached.cache_clear()
    yield
    for cached in (math_verify_plain._load_copy, math_verify_plain._parse_gold):
        cached.cache_clear()


@pytest.mark.parametrize(("gold", "response", "plain", "ours", "reason"), DIFFERING, ids=[c[-1] for c in DIFFERING])
def test_the_library_answers_for_itself_after_ours_changed_it(
    gold: str, response: str, plain: Verdict, ours: Verdict, reason: str
) -> None:
    """`math-verify` replaces functions of the library's modules, and the second opinion would have been its own."""
    del reason
    assert judge("math-verify", gold, response).verdict is ours
    assert judge("math-verify-plain", gold, response).verdict is plain
    assert judge("math-verify", gold, response).verdict is ours


@pytest.mark.usefixtures("loads_again")
def test_the_copy_leaves_the_modules_that_others_import() -> None:
    import math_verify.parser

    before = math_verify.parser
    assert judge("math-verify-plain", "1", "1").verdict is CORRECT
    assert sys.modules["math_verify.parser"] is before
    assert math_verify_plain._load_copy().parser is not before


@pytest.mark.usefixtures("loads_again")
def test_what_is_imported_first_does_not_matter() -> None:
    """Without any module of the library, the copy leaves none behind, so that ours then changes its own."""
    names = [name for name in sys.modules if name.partition(".")[0] in math_verify_plain._COPIED]
    before = {name: sys.modules.pop(name) for name in names}
    try:
        assert judge("math-verify-plain", "11", r"\boxed{5 6}").verdict is CORRECT
        assert not [name for name in sys.modules if name.partition(".")[0] in math_verify_plain._COPIED]
    finally:
        sys.modules.update(before)


def test_a_ground_truth_without_a_reading_is_our_failure() -> None:
    graded = judge("math-verify-plain", "   ", r"\boxed{1}")
    assert (graded.verdict, graded.score) == (Verdict.GOLD_UNPARSEABLE, None)
    assert load_verifier("math-verify-plain").check_gold("x^2+1").verdict is CORRECT


@pytest.mark.usefixtures("loads_again")
@pytest.mark.parametrize("stage", ["parse", "verify"])
def test_running_out_of_memory_is_no_wrong_answer(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library catches a MemoryError and says "unequal", but the memory limit is ours."""
    copy = math_verify_plain._load_copy()

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    if stage == "parse":
        broken = math_verify_plain._raise_out_of_memory(fail)
        monkeypatch.setattr(copy.parser, "latex2sympy", broken)
    else:
        monkeypatch.setattr(copy.grader, "sympy_expr_eq", fail)
    with pytest.raises(MemoryError):
        judge("math-verify-plain", r"\sqrt{77}", r"\boxed{\sqrt{78}}")


@pytest.mark.slow
@pytest.mark.parametrize("names", [("math-verify", "math-verify-plain"), ("math-verify-plain", "math-verify")], ids=str)
def test_both_verifiers_share_a_process_in_either_order(names: tuple[str, str]) -> None:
    """A process loads its verifiers in this order, and grades the jobs of both."""

    async def grade() -> list[tuple[Verdict, Verdict]]:
        async with GraderPool(*names, workers=1) as pool:
            return [
                (
                    (await pool.grade(GradeJob(response, gold, verifier="math-verify-plain"))).verdict,
                    (await pool.grade(GradeJob(response, gold, verifier="math-verify"))).verdict,
                )
                for gold, response, *_ in DIFFERING
            ]

    assert asyncio.run(grade()) == [(plain, ours) for _, _, plain, ours, _ in DIFFERING]
