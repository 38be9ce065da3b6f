"""A prompt's value, and its bounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.verdict import OBSERVATIONS, Verdict
from spo_data.values.estimator import estimate_value

Pair = tuple[Verdict, float | None]

FAILURES = sorted(set(Verdict) - OBSERVATIONS)
SINGLE_FAILURES = sorted({*FAILURES} - {Verdict.GOLD_UNPARSEABLE})
"""Failures of one sample. An unparseable ground truth is a failure of the whole prompt."""
_BINARY = st.sampled_from(
    [(Verdict.CORRECT, 1.0), (Verdict.WRONG, 0.0), (Verdict.NO_ANSWER, 0.0), (Verdict.TRUNCATED, 0.0)]
)
_CUT = st.floats(0, 1).map(lambda score: (Verdict.TRUNCATED, score))
"""A truncated response that was graded."""
_PARTIAL = st.floats(0, 1, exclude_max=True).map(lambda score: (Verdict.WRONG, score))
_FAILED: st.SearchStrategy[Pair] = st.sampled_from(SINGLE_FAILURES).map(lambda verdict: (verdict, None))
BINARY: st.SearchStrategy[list[Pair]] = st.lists(_BINARY | _FAILED, max_size=40)
ANY: st.SearchStrategy[list[Pair]] = st.lists(_BINARY | _PARTIAL | _CUT | _FAILED, max_size=40)
COUNT = st.integers(0, 10)


@given(BINARY, COUNT)
def test_a_binary_value_lies_between_its_bounds_which_lie_in_0_to_1(pairs: list[Pair], failures: int) -> None:
    value = estimate_value(pairs, failures=failures)
    if value.value is not None:
        assert value.value_low is not None
        assert value.value_high is not None
        assert 0 <= value.value_low <= value.value <= value.value_high <= 1


@given(ANY, COUNT)
def test_a_value_with_partial_scores_lies_between_its_bounds(pairs: list[Pair], failures: int) -> None:
    value = estimate_value(pairs, failures=failures)
    if value.value is not None:
        assert value.value_low is not None
        assert value.value_high is not None
        assert -1e-12 <= value.value_low <= value.value + 1e-12 <= value.value_high + 2e-12 <= 1 + 3e-12


@given(BINARY, COUNT)
def test_values_are_the_means_that_they_are_said_to_be(pairs: list[Pair], failures: int) -> None:
    value = estimate_value(pairs, failures=failures)
    correct = sum(verdict is Verdict.CORRECT for verdict, _ in pairs)
    truncated = sum(verdict is Verdict.TRUNCATED for verdict, _ in pairs)
    failed = sum(verdict in SINGLE_FAILURES for verdict, _ in pairs) + failures
    n = len(pairs) + failures
    assert (value.n, value.n_valid, value.n_failed, value.n_undrawn) == (n, n - failed, failed, 0)
    assert (value.n_correct, value.n_truncated) == (correct, truncated)
    assert value.n_no_answer == sum(verdict is Verdict.NO_ANSWER for verdict, _ in pairs)
    assert value.vhat == tuple(score for _, score in pairs if score is not None)
    assert value.value == (float(Fraction(correct, n - failed)) if n > failed else None)
    assert value.value_low == (float(Fraction(correct, n)) if n else None)
    assert value.value_high == (float(Fraction(correct + truncated + failed, n)) if n else None)


@given(ANY, st.lists(_FAILED, min_size=1, max_size=8))
def test_samples_that_we_failed_to_grade_never_move_the_value(pairs: list[Pair], failed: list[Pair]) -> None:
    before, after = estimate_value(pairs), estimate_value([*failed, *pairs, *failed])
    assert (after.value, after.vhat) == (before.value, before.vhat)
    assert after.n_failed == before.n_failed + 2 * len(failed)


@given(BINARY.filter(bool), st.integers(1, 10))
def test_a_sample_that_could_not_be_drawn_spreads_the_bounds_like_one_not_graded(
    pairs: list[Pair], failures: int
) -> None:
    by_engine = estimate_value(pairs, failures=failures)
    by_grader = estimate_value([*pairs, *[(Verdict.GRADER_ERROR, None)] * failures])
    assert by_engine == by_grader


@given(ANY, COUNT, st.integers(1, 10))
def test_a_prompt_with_undrawn_samples_has_no_value_but_the_bounds_of_all_its_samples(
    pairs: list[Pair], failures: int, undrawn: int
) -> None:
    """Right answers are shorter and end first: a half-drawn prompt had the value and the bounds 1.0, its truth 0.5."""
    value = estimate_value(pairs, failures=failures, undrawn=undrawn)
    all_failed = estimate_value(pairs, failures=failures + undrawn)
    assert (value.value, value.is_finished, value.n_undrawn) == (None, False, undrawn)
    assert (value.value_low, value.value_high) == (all_failed.value_low, pytest.approx(all_failed.value_high))
    assert (value.n, value.n_valid, value.n_failed + undrawn) == (all_failed.n, all_failed.n_valid, all_failed.n_failed)


def test_a_truncated_sample_is_zero_in_the_value_and_one_in_the_upper_bound() -> None:
    value = estimate_value([(Verdict.CORRECT, 1.0), (Verdict.TRUNCATED, 0.0)])
    assert (value.value_low, value.value, value.value_high) == (0.5, 0.5, 1.0)
    assert (value.n_valid, value.n_failed, value.vhat) == (2, 0, (1.0, 0.0))


@given(ANY, COUNT, st.integers(0, 40))
def test_a_prompt_with_an_unparseable_ground_truth_has_no_value(pairs: list[Pair], failures: int, where: int) -> None:
    """Its truncated samples scored 0 without any grading and gave the prompt the value 0."""
    value = estimate_value([*pairs[:where], (Verdict.GOLD_UNPARSEABLE, None), *pairs[where:]], failures=failures)
    assert (value.value, value.vhat, value.n_valid) == (None, (), 0)
    assert value.n_failed == value.n == len(pairs) + 1 + failures
    assert (value.value_low, value.value_high) == (0.0, 1.0)


@pytest.mark.parametrize("verdict", FAILURES)
def test_a_prompt_with_failures_alone_has_bounds_but_no_value(verdict: Verdict) -> None:
    value = estimate_value([(verdict, None)] * 3)
    assert (value.value_low, value.value, value.value_high) == (0.0, None, 1.0)
    assert (value.n, value.n_valid, value.n_failed, value.vhat) == (3, 0, 3, ())


def test_no_samples_give_neither_value_nor_bounds() -> None:
    value = estimate_value([])
    assert (value.value_low, value.value, value.value_high, value.n) == (None, None, None, 0)


def test_partial_scores_are_averaged_and_only_full_ones_counted_correct() -> None:
    value = estimate_value([(Verdict.CORRECT, 1.0), (Verdict.WRONG, 0.5), (Verdict.WRONG, 0.0)])
    assert (value.value, value.n_correct) == (0.5, 1)


def test_a_truncated_response_that_was_graded_could_still_have_turned_out_either_way() -> None:
    """Its score counts in the value. If it counted in the lower bound too, a right one would look certain."""
    pairs = [(Verdict.CORRECT, 1.0), (Verdict.WRONG, 0.0), (Verdict.TRUNCATED, 1.0), (Verdict.TRUNCATED, 0.0)]
    value = estimate_value(pairs)
    assert (value.value, value.value_low, value.value_high) == (0.5, 0.25, 0.75)
    assert (value.n_valid, value.n_correct, value.n_truncated, value.n_failed) == (4, 1, 2, 0)
    assert value.vhat == (1.0, 0.0, 1.0, 0.0)
    bad = estimate_value([(Verdict.TRUNCATED, 1.0), (Verdict.GOLD_UNPARSEABLE, None)])
    assert (bad.value, bad.value_low, bad.value_high) == (None, 0.0, 1.0)
