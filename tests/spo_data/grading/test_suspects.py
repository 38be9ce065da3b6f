"""When samples agree on an answer that is not the ground truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.ground_truths import LEAST_ANSWERS, find_agreed_answer
from spo_data.grading.verdict import Verdict

Sample = tuple[Verdict, str | None]


def wrong(*answers: str | None) -> list[Sample]:
    return [(Verdict.WRONG, answer) for answer in answers]


TRUNCATED: Sample = (Verdict.TRUNCATED, None)
NO_ANSWER: Sample = (Verdict.NO_ANSWER, None)
FAILED: Sample = (Verdict.GRADER_ERROR, "12")


@pytest.mark.parametrize(
    ("samples", "agreed"),
    [
        ([], None),
        (wrong("12"), None),
        (wrong("12", "12"), None),
        (wrong("12", "12", "12"), "12"),
        (wrong("12", "12", "13"), None),
        (wrong(*["12"] * 7, "13"), None),
        ([*wrong("12", "12", "12"), (Verdict.CORRECT, "5")], None),
        ([*wrong(*["12"] * 7), (Verdict.CORRECT, None)], None),
        ([*wrong("12", "12", "12"), *[TRUNCATED] * 3], "12"),
        ([*wrong("12", "12", "12"), *[TRUNCATED] * 4], None),
        ([*wrong("12", "12", "12"), *[NO_ANSWER] * 3], "12"),
        ([*wrong("12", "12", "12"), *[NO_ANSWER] * 2, *[TRUNCATED] * 2], None),
        ([*wrong("12", "12"), *[FAILED] * 4], None),
        ([*wrong("12", "12", "12"), *[FAILED] * 9], "12"),
        ([*wrong("12", "12", "12"), (Verdict.GRADER_TIMEOUT, "13")], "12"),
        ([*wrong("12", "12", "12"), (Verdict.GOLD_UNPARSEABLE, "13"), (Verdict.TOOL_ERROR, None)], "12"),
        (wrong("12", "12", "12", None, ""), "12"),
        (wrong("12", "12", None, None), None),
        ([TRUNCATED] * 8, None),
        ([NO_ANSWER] * 8, None),
        ([FAILED] * 8, None),
    ],
)
def test_three_answers_and_half_of_the_valid_samples_must_agree_and_none_be_correct(
    samples: list[Sample], agreed: str | None
) -> None:
    assert find_agreed_answer(samples) == agreed
    assert find_agreed_answer(iter(samples)) == agreed


@pytest.mark.parametrize(
    "answers",
    [
        ("12", "12.0", "$12$"),
        ("12", "12.", "$12$"),
        (r"\frac12", "0.5", "1/2"),
        (r"\frac{1}{2}", r"\dfrac{1}{2}", r"\frac12"),
        (r"\frac{a}{b}", r"\dfrac{a}{b}", r"\frac{ a }{ b }"),
        ("1,000", "1000", "1{,}000"),
        ("0", "-0", "+0"),
        ("50%", r"50\%", r"50 \%"),
        ("Yes", "yes", "YES."),
        ("A", "(A)", r"\text{A}"),
        ("(1,2)", "(1, 2)", "$(1,2)$"),
        ("0.50", "0.5", ".5"),
    ],
)
def test_the_same_answer_in_other_dressings_is_the_same_answer(answers: tuple[str, ...]) -> None:
    """The module docstring's own example, 12, 12.0 and $12$, counted as three answers."""
    assert find_agreed_answer(wrong(*answers)) == answers[0]
    assert find_agreed_answer(wrong(*reversed(answers))) == answers[-1]


@pytest.mark.parametrize(
    "answers",
    [
        ("12", "12", "-12"),
        ("0.5", "0.5", "0.25"),
        ("1/3", "1/3", "0.33"),
        ("x+1", "x+1", "x-1"),
        ("12", "1 2", "12"),
        ("50", "5", "50"),
        ("A", "B", "A"),
    ],
)
def test_other_answers_are_not_the_same(answers: tuple[str, ...]) -> None:
    assert find_agreed_answer(wrong(*answers)) is None


ANSWERS = st.sampled_from(["12", "12.0", "$12$", "13", r"\frac12", "0.5", "x", "X", "", None])
SAMPLES = st.lists(
    st.tuples(st.sampled_from(Verdict), ANSWERS) | st.tuples(st.just(Verdict.WRONG), ANSWERS), max_size=9
)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_decides_only_who_words_the_answer(samples: list[Sample], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    agreed, other = find_agreed_answer(samples), find_agreed_answer(shuffled)
    assert (agreed is None) == (other is None)
    if agreed is not None:
        assert agreed == next(answer for verdict, answer in samples if verdict is Verdict.WRONG and answer)
        assert other == next(answer for verdict, answer in shuffled if verdict is Verdict.WRONG and answer)


@given(SAMPLES)
def test_what_is_agreed_on_was_answered_often_and_never_graded_correct(samples: list[Sample]) -> None:
    if find_agreed_answer(samples) is None:
        return
    valid = [sample for sample in samples if sample[0].is_observation]
    answered = [answer for verdict, answer in valid if verdict is Verdict.WRONG and answer]
    assert Verdict.CORRECT not in {verdict for verdict, _ in valid}
    assert len(answered) >= max(LEAST_ANSWERS, len(valid) / 2)
    assert find_agreed_answer([*samples, (Verdict.CORRECT, "5")]) is None
    assert find_agreed_answer([*samples, (Verdict.WRONG, "another")]) is None
