"""The fast path for lists of numbers agrees with math-verify or leaves the decision to it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spo_data.grading.answers.math_equal import UnparseableGoldError, math_equal
from spo_data.grading.answers.number_lists import equal_lists

_NUMBERS = st.lists(
    st.sampled_from(["0", "1", "2", "-3", "1/2", "0.5", "2.0", r"\frac{7}{2}", "40"]), min_size=1, max_size=4
)
_BRACKETS = st.sampled_from(
    [("", ""), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"), (r"\{", r"\}"), (r"\left(", r"\right)")]
)
_LISTS = st.builds(
    lambda numbers, brackets, comma: brackets[0] + comma.join(numbers) + brackets[1],
    _NUMBERS,
    _BRACKETS,
    st.sampled_from([",", ", "]),
)


@given(_LISTS, _LISTS)
@settings(max_examples=150)
@example("(1, 2)", r"\{1, 2\}")
@example("(1, 2)", r"\{2, 1\}")
@example("1, 2", "(2, 1)")
@example("1, 1", "1")
@example("(0, 1]", "(0, 1)")
@example("(0, 1]", "0, 1")
@example("(1, 1)", "1, 1")
@example("(1, 2, 3)", "1, 2, 3")
@pytest.mark.slow
def test_lists_of_numbers_are_equal_where_math_verify_says_so(gold: str, answer: str) -> None:
    fast = equal_lists(gold, answer)
    if fast is None:
        return
    try:
        assert fast is math_equal(gold, answer), (gold, answer)
    except UnparseableGoldError:
        pytest.fail(f"the fast path judged {gold!r}, which is no expression")


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x, 1", "1, x"),
        ("(1, 2", "1, 2"),
        ("5", "5"),
        ("100,200", "100, 200"),
        ("(100,200)", "(100,200)"),
        ("1, 2", "yes"),
    ],
)
def test_what_is_no_list_of_plain_numbers_is_left_to_math_verify(gold: str, answer: str) -> None:
    assert equal_lists(gold, answer) is None
