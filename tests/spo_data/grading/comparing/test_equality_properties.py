"""Properties of every answer: another notation does not change it, and a different answer never equals it."""

import random
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spo_data.grading.comparing.equality import compare
from spo_data.grading.comparing.parser import parse, verify
from spo_data.grading.finding.extract import extract_answer
from spo_data.grading.reading.numbers import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, equal_numbers, read_number
from spo_data.grading.verdict import Verdict
from spo_data.grading.verifiers.math_verify import MathVerifier

pytestmark = pytest.mark.slow

SECONDS = 5
"""Of this process's own time: the texts below take well under a second if every step is linear."""

Dress = Callable[[str], str]


def _spaces(text: str) -> str:
    return f"  {text} "


def _grouped(text: str) -> str:
    return f"{{{text}}}"


def _dollars(text: str) -> str:
    return f"${text}$"


def _inline(text: str) -> str:
    return rf"\({text}\)"


def _stopped(text: str) -> str:
    return f"{text}."


def _assigned(text: str) -> str:
    return f"x = {text}"


def _unit(text: str) -> str:
    return rf"{text} \text{{ apples}}"


def _display(text: str) -> str:
    return text.replace(r"\frac", r"\dfrac")


def _small(text: str) -> str:
    return text.replace(r"\frac", r"\tfrac")


def _sized(text: str) -> str:
    """Parentheses would turn text with a comma into a pair."""
    return rf"\left({text}\right)" if "," not in text else text


def _plain_box(text: str) -> str:
    return rf"\boxed{{{text}}}"


def _loose_box(text: str) -> str:
    return f"The answer is \\boxed {{ {text} }}"


def _formula_box(text: str) -> str:
    return f"Hence $$\\boxed{{{text}}}$$"


def _after_thinking(text: str) -> str:
    return rf"<think>perhaps \boxed{{0.123}}?</think>\boxed{{{text}}}"


def _corrected(text: str) -> str:
    return rf"\boxed{{0.123}}. Wait, that is a mistake. \boxed{{{text}}}!"


INSIDE: tuple[Dress, ...] = (_display, _small)
SCALAR: tuple[Dress, ...] = (_grouped, _sized, _unit, _assigned)
AROUND: tuple[Dress, ...] = (_spaces, _dollars, _inline, _stopped)
BOXES: tuple[Dress, ...] = (_plain_box, _loose_box, _formula_box, _after_thinking, _corrected)


def _identity(text: str) -> str:
    return text


@st.composite
def _dressings(draw: st.DrawFn, scalar: bool) -> Dress:
    """At most one of each layer, from the inside out, as a model would write them."""
    layers = [draw(st.sampled_from((_identity, *INSIDE)))]
    if scalar:
        layers.append(draw(st.sampled_from((_identity, *SCALAR))))
    layers.extend(draw(st.lists(st.sampled_from(AROUND), max_size=2, unique=True)))
    layers.append(draw(st.sampled_from(BOXES)))

    def dress(text: str) -> str:
        for layer in layers:
            text = layer(text)
        return text

    return dress


def _thin(number: int) -> str:
    return f"{number:,}".replace(",", r"\,")


def _braced(number: int) -> str:
    return f"{number:,}".replace(",", "{,}")


def _integer_texts(number: int) -> list[str]:
    return [str(number), f"{number:,}", _thin(number), _braced(number)]


_INTEGERS = st.integers(-(10**6), 10**6) | st.integers(-(10**40), 10**40)
_FRACTIONS = st.builds(Fraction, st.integers(-999, 999), st.integers(2, 99)).filter(lambda value: value.denominator > 1)
_DECIMALS = st.decimals(min_value=-10000, max_value=10000, places=4, allow_nan=False, allow_infinity=False)


def _fraction_texts(value: Fraction) -> list[str]:
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    return [
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"\frac{{{sign}{top}}}{{{bottom}}}",
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{3 * top}}}{{{3 * bottom}}}",
        rf"{sign}\frac {{{top}}} {{{bottom}}}",
    ]


def _decimal_texts(value: Decimal) -> list[str]:
    plain = f"{value:f}"
    return [plain, f"{plain}00", plain.replace("0.", ".", 1) if abs(value) < 1 else plain]


@st.composite
def _written(draw: st.DrawFn) -> tuple[Fraction, str, str]:
    """A number's value and two ways to write it."""
    kind = draw(st.sampled_from(("integer", "fraction", "decimal")))
    if kind == "integer":
        integer = draw(_INTEGERS)
        value, texts = Fraction(integer), _integer_texts(integer)
    elif kind == "fraction":
        value = draw(_FRACTIONS)
        texts = _fraction_texts(value)
    else:
        decimal = draw(_DECIMALS)
        value, texts = Fraction(decimal), _decimal_texts(decimal)
    return value, draw(st.sampled_from(texts)), draw(st.sampled_from(texts))


def _verdict(gold: str, response: str) -> Verdict:
    return MathVerifier().grade(response, gold).verdict


def _tell_apart(first: Fraction, second: Fraction) -> bool:
    """Whether the numbers differ by more than the documented rounding allows."""
    difference = abs(first - second)
    return difference > ABSOLUTE_TOLERANCE or difference > RELATIVE_TOLERANCE * min(abs(first), abs(second))


@settings(max_examples=100)
@given(written=_written(), dress=_dressings(scalar=True))
def test_a_number_is_itself_in_any_dress(written: tuple[Fraction, str, str], dress: Dress) -> None:
    _, gold, answer = written
    assert _verdict(gold, dress(answer)) is Verdict.CORRECT


@settings(max_examples=100)
@given(gold=_written(), answer=_written(), dress=_dressings(scalar=True))
def test_another_number_is_never_right_in_any_dress(
    gold: tuple[Fraction, str, str], answer: tuple[Fraction, str, str], dress: Dress
) -> None:
    assume(_tell_apart(gold[0], answer[0]))
    assert _verdict(gold[1], dress(answer[1])) is Verdict.WRONG


@settings(max_examples=100)
@given(number=_INTEGERS, off=st.sampled_from((-1, 1, 10, -10)), dress=_dressings(scalar=True))
def test_a_near_miss_is_never_right_in_any_dress(number: int, off: int, dress: Dress) -> None:
    assert _verdict(str(number), dress(str(number + off))) is Verdict.WRONG


_POLYNOMIALS = st.lists(st.integers(-9, 9), min_size=2, max_size=4).filter(lambda terms: any(terms[1:]))


def _polynomial(coefficients: list[int], order: list[int]) -> str:
    terms = [f"({coefficients[power]})x^{{{power}}}" for power in order]
    return " + ".join(terms)


@settings(max_examples=30)
@given(coefficients=_POLYNOMIALS, chance=st.randoms(use_true_random=False), dress=_dressings(scalar=False))
def test_a_polynomial_is_itself_in_any_order_and_dress(
    coefficients: list[int], chance: random.Random, dress: Dress
) -> None:
    order = list(range(len(coefficients)))
    shuffled = chance.sample(order, len(order))
    assert _verdict(_polynomial(coefficients, order), dress(_polynomial(coefficients, shuffled))) is Verdict.CORRECT


@settings(max_examples=30)
@given(coefficients=_POLYNOMIALS, place=st.integers(0, 3), off=st.integers(1, 3), dress=_dressings(scalar=False))
def test_a_polynomial_with_another_coefficient_is_never_right(
    coefficients: list[int], place: int, off: int, dress: Dress
) -> None:
    other = list(coefficients)
    other[place % len(other)] += off
    order = list(range(len(coefficients)))
    assert _verdict(_polynomial(coefficients, order), dress(_polynomial(other, order))) is Verdict.WRONG


_ELEMENTS = st.lists(st.integers(-999, 999), min_size=2, max_size=5, unique=True)


def _set(elements: list[int], left: str = r"\{", right: str = r"\}") -> str:
    return left + ", ".join(map(str, elements)) + right


@settings(max_examples=30)
@given(elements=_ELEMENTS, chance=st.randoms(use_true_random=False), dress=_dressings(scalar=False))
def test_a_set_is_itself_in_any_order_and_dress(elements: list[int], chance: random.Random, dress: Dress) -> None:
    shuffled = chance.sample(elements, len(elements))
    assert _verdict(_set(elements), dress(_set(shuffled, r"\left\{", r"\right\}"))) is Verdict.CORRECT


@settings(max_examples=30)
@given(elements=_ELEMENTS, place=st.integers(0, 4), dress=_dressings(scalar=False))
def test_a_set_with_another_element_is_never_right(elements: list[int], place: int, dress: Dress) -> None:
    other = list(elements)
    other[place % len(other)] = 1000
    assert _verdict(_set(elements), dress(_set(other))) is Verdict.WRONG
    assert _verdict(_set(elements), dress(_set([*elements, 1000]))) is Verdict.WRONG


@settings(max_examples=30)
@given(
    low=st.integers(-99, 99),
    length=st.integers(1, 99),
    ends=st.tuples(st.sampled_from("(["), st.sampled_from(")]")),
    others=st.tuples(st.sampled_from("(["), st.sampled_from(")]")),
    dress=_dressings(scalar=False),
)
def test_an_interval_is_itself_in_any_dress_and_its_ends_count(
    low: int, length: int, ends: tuple[str, str], others: tuple[str, str], dress: Dress
) -> None:
    gold = f"{ends[0]}{low}, {low + length}{ends[1]}"
    sized = rf"\left{others[0]}{low},{low + length}\right{others[1]}"
    assert _verdict(gold, dress(sized)) is (Verdict.CORRECT if ends == others else Verdict.WRONG)


def _plain(draw: st.DrawFn) -> str:
    _, text, _ = draw(_written())
    return text


_PLAIN = st.composite(_plain)()


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two plain numbers: unrelated, equal but written differently, or very close."""
    value, first, second = draw(_written())
    kind = draw(st.sampled_from(("same", "near", "other")))
    if kind == "same":
        return first, second
    if kind == "other":
        return first, draw(_PLAIN)
    shift = draw(st.sampled_from((1, 4, 6, 50))) * draw(st.sampled_from((-1, 1)))
    near = round((value + Fraction(shift, 10**7)) * 10**7)
    sign, digits = ("-" if near < 0 else ""), str(abs(near)).rjust(8, "0")
    return first, f"{sign}{digits[:-7]}.{digits[-7:]}"


def _fast(first: str, second: str) -> bool:
    gold, answer = read_number(first), read_number(second)
    assert gold is not None
    assert answer is not None
    return equal_numbers(gold, answer)


@settings(max_examples=150)
@given(pair=_pairs())
def test_numbers_compared_without_sympy_are_equal_where_sympy_finds_them_equal(pair: tuple[str, str]) -> None:
    """Of decimals sympy compares fifteen digits, so it takes 5999999.9999994 for 6000000. We compare all of them."""
    assume(not any("." in text and sum(map(str.isdigit, text)) > 13 for text in pair))
    assert _fast(*pair) == verify(parse(pair[0]), parse(pair[1]))


@settings(max_examples=200)
@given(pair=_pairs())
def test_plain_numbers_are_equal_both_ways(pair: tuple[str, str]) -> None:
    """This excludes pairs at the border of five significant digits, which is relative to the ground truth."""
    gold, answer = read_number(pair[0]), read_number(pair[1])
    assert gold is not None
    assert answer is not None
    difference = abs(gold.value - answer.value)
    sizes = sorted((abs(gold.value), abs(answer.value)))
    assume(not RELATIVE_TOLERANCE * sizes[0] < difference <= RELATIVE_TOLERANCE * sizes[1])
    assert _fast(*pair) == _fast(*reversed(pair))


@settings(max_examples=30)
@given(first=_ELEMENTS, second=_ELEMENTS)
def test_finite_sets_are_equal_both_ways(first: list[int], second: list[int]) -> None:
    there, back = compare(_set(first), _set(second)).equal, compare(_set(second), _set(first)).equal
    assert there == back == (set(first) == set(second))


_SCRAPS = st.sampled_from(
    (
        *(r"\boxed{", r"\boxed", r"\fbox{", r"\boxed 4", "{", "}", "\\", "$", "$$", r"\(", r"\)", ",", " and ", " or "),
        *("<think>", "</think>", "<answer>", "</answer>", "Answer:", "Final Answer: ", "#### ", "\n", " ", "**", "'"),
        *("42", "\x00", "\ud800", "\u200b", "\u202e", "\U0001f600"),
    )
)


@settings(max_examples=400)
@given(text=st.lists(_SCRAPS | st.text(max_size=3), max_size=60).map("".join))
def test_extraction_never_fails_and_never_gives_an_empty_answer(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.strip()


@pytest.mark.parametrize(
    "scrap",
    [
        *(r"\boxed{", r"\boxed{}", r"\boxed{1}, ", r"\boxed{1} and ", r"\boxed ", r"\boxed    ", r"\fbox{", "{", "}"),
        *("{}", "\\", "\\\\", r"\{", "$", "$ ", " ", "\n", "\t", "*", "#", "#### ", "\n#### ", "\n####\t", "'"),
        *("<think>", "</think>", "<answer>", "</answer>", "Answer:", "\nAnswer: ", "\nAnswer :", "* ", "\n* #", ","),
        *(" and ", r"\boxed{1}" + " " * 39, r"\boxed{1}$ , $", "1", "\x00", "\ud800", "<", "Final ", "Final Answer"),
    ],
)
def test_extraction_is_linear_in_hostile_text(scrap: str) -> None:
    text = scrap * (100_000 // len(scrap))
    started = time.process_time()
    for hostile in (text, text + r"\boxed{42}", "Answer:" + text, "<answer>" + text, r"\boxed{" + text + "}"):
        extract_answer(hostile)
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    "response",
    ["1," * 24, r"\boxed{5" + " " * 9000 + "x}", "1, " * 300, "5 or " * 190, r"\boxed{5" + r"\ " * 2000 + "x}"],
    ids=["a list without spaces", "a box of spaces", "a list with spaces", "a long hedge", "a box of control spaces"],
)
def test_grading_does_not_hang_on_a_response_that_repeats_itself(response: str) -> None:
    """A search for hedges tried every way to split "1,1,1,…" into numbers, so 22 of them took four seconds."""
    started = time.process_time()
    MathVerifier().grade(response, "5")
    assert time.process_time() - started < SECONDS
