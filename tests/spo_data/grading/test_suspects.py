"""When samples agree on an answer that is not the ground truth."""

import random as chance
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.grading.suspects import FEW, LEAST_ANSWERS, REPEATS, Agreement, SuspectRule, find_agreement
from spo_data.grading.verdict import Verdict

Sample = tuple[Verdict, str | None]


def agreed_answer(samples: Iterable[Sample]) -> str | None:
    found = find_agreement(samples)
    return None if found is None else found.answer


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
    assert agreed_answer(samples) == agreed
    assert agreed_answer(iter(samples)) == agreed


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
    assert agreed_answer(wrong(*answers)) == answers[0]
    assert agreed_answer(wrong(*reversed(answers))) == answers[-1]


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
    assert agreed_answer(wrong(*answers)) is None


ANSWERS = st.sampled_from(["12", "12.0", "$12$", "13", r"\frac12", "0.5", "x", "X", "", None])
SAMPLES = st.lists(
    st.tuples(st.sampled_from(Verdict), ANSWERS) | st.tuples(st.just(Verdict.WRONG), ANSWERS), max_size=9
)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_decides_only_who_words_the_answer(samples: list[Sample], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    agreed, other = agreed_answer(samples), agreed_answer(shuffled)
    assert (agreed is None) == (other is None)
    if agreed is not None:
        assert agreed == next(answer for verdict, answer in samples if verdict is Verdict.WRONG and answer)
        assert other == next(answer for verdict, answer in shuffled if verdict is Verdict.WRONG and answer)


@given(SAMPLES)
def test_what_is_agreed_on_was_answered_often_and_never_graded_correct(samples: list[Sample]) -> None:
    if agreed_answer(samples) is None:
        return
    valid = [sample for sample in samples if sample[0].is_observation]
    answered = [answer for verdict, answer in valid if verdict is Verdict.WRONG and answer]
    assert Verdict.CORRECT not in {verdict for verdict, _ in valid}
    assert len(answered) >= max(LEAST_ANSWERS, len(valid) / 2)
    assert agreed_answer([*samples, (Verdict.CORRECT, "5")]) is None
    assert agreed_answer([*samples, (Verdict.WRONG, "another")]) is None


def test_the_share_is_of_the_valid_samples() -> None:
    found = find_agreement([*wrong(*["12"] * 7), NO_ANSWER, FAILED])
    assert found == Agreement("12", samples=7, valid=8)
    assert found.describe(20) == "7 of 8 samples answer 12"


def draw_yes_or_no(p: float, *, n: int = 8, seed: int) -> list[Sample]:
    """Samples of a policy that is right with probability p on a question whose true answer is yes."""
    draw = chance.Random(seed)
    return [(Verdict.CORRECT, "yes") if draw.random() < p else (Verdict.WRONG, "no") for _ in range(n)]


def test_right_ground_truths_with_two_answers_are_not_suspect() -> None:
    """At p = 0.1, 43 % of right ground truths were suspect: eight wrong answers of one possible one always agree."""
    prompts = [draw_yes_or_no(0.1, seed=seed) for seed in range(500)]
    assert 0.37 < sum(find_agreement(samples) is not None for samples in prompts) / 500 < 0.49
    rule = SuspectRule([("questions", "yes")] * 3)
    assert not any(rule.find("yes", "questions", samples) for samples in prompts)


def test_a_wrong_ground_truth_among_many_possible_ones_is_suspect() -> None:
    golds = [("sums", str(number)) for number in range(2, 40)]
    assert SuspectRule(golds).find("13", "sums", wrong(*["12"] * 8)) == Agreement("12", 8, 8)


@pytest.mark.parametrize(
    ("ground_truth", "few"),
    [
        *(
            (text, True)
            for text in ("A", "(B)", "c", r"\text{D}", "(B) 12 cm", "E", "Yes", "no.", "TRUE", "Impossible")
        ),
        *((text, False) for text in ("12", "0", "x", "e", "i", "K", "2e", "a+b", "(a, b)", "yesterday", "no solution")),
    ],
)
def test_letters_and_yes_or_no_have_few_answers(ground_truth: str, few: bool) -> None:
    """A small e is a number, and `no solution` stands against any number of solutions."""
    rule = SuspectRule([("d", ground_truth)])
    assert rule.has_few_answers(ground_truth, "d") is few
    assert (rule.find(ground_truth, "d", wrong("7", "7", "7")) is None) is few


@pytest.mark.parametrize(
    ("different", "each", "few"),
    [(2, REPEATS, True), (2, REPEATS - 1, False), (FEW, REPEATS, True), (FEW + 1, 5 * REPEATS, False), (1, 3, False)],
)
def test_a_data_source_that_repeats_few_ground_truths_has_few_answers(different: int, each: int, few: bool) -> None:
    golds = [("roles", f"role {k}") for k in range(different)] * each
    others = [("sums", str(k)) for k in range(100)]
    rule = SuspectRule(iter([*golds, *others]))
    assert rule.has_few_answers("role 0", "roles") is few
    assert not rule.has_few_answers("7", "sums"), "another data source of the same run"


def test_one_ground_truth_in_several_dressings_counts_once() -> None:
    golds = [("bits", text) for text in ("1", "$1$", "1.0", "0", "+0")] * 4
    assert SuspectRule(golds).has_few_answers("1", "bits")
