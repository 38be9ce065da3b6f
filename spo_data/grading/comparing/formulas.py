"""Comparing numbers and formulas by math-verify: percentages, chains of equations, approximations."""

from collections.abc import Sequence
from typing import Any

from spo_data.grading.comparing.expressions import equal_values, has_no_value, is_constant, to_sympy
from spo_data.grading.comparing.parser import parse, verify
from spo_data.grading.reading.kinds import Answer, Collection, Expression, Quantity, Text
from spo_data.grading.reading.numbers import Number

CLOSE = 0.05
"""Two numbers joined by "approximately" may differ by this share of the larger."""


def equal_formulas(gold: Answer, answer: Answer) -> bool:
    """Whether two numbers or formulas have the same value.

    If only one has a percent sign, `50%` equals 0.5, and also 50: a bare number above 1 may be a percentage.
    """
    from sympy import Expr

    golds, answers = parse_answer(gold), parse_answer(answer)
    if not golds or not answers:
        return False
    gold_percent, answer_percent = _is_percent(gold), _is_percent(answer)
    if gold_percent == answer_percent:
        return verify(golds, answers)
    shares = [value / 100 for value in (golds if gold_percent else answers) if isinstance(value, Expr)]
    if verify(shares, answers) if gold_percent else verify(golds, shares):
        return True
    bare = answers if gold_percent else golds
    if any(is_constant(value) and abs(value.evalf(15)) <= 1 for value in bare):
        return False  # a bare number up to 1 is not a percentage
    return verify(golds, answers)


def parse_answer(answer: Answer) -> tuple[Any, ...]:
    """The sympy expressions of a number, quantity or formula; empty if it does not parse."""
    value = answer.value
    if isinstance(value, Quantity):
        value = value.value
    if isinstance(value, Number):
        return (to_sympy(value),)
    return parse(value.latex) if isinstance(value, Expression) else ()


def is_read(answer: Answer) -> bool:
    """Whether it was read as more than a text, words apart."""
    value = answer.value
    if isinstance(value, Collection):
        return all(map(is_read, value.items))
    if isinstance(value, Text):
        return value.is_words
    return bool(parse_answer(answer)) if isinstance(value, Expression | Quantity) else True


def has_value(answer: Answer) -> bool:
    """Whether a ground truth has a value: 1/0 has none."""
    value = answer.value
    if isinstance(value, Collection):
        return all(map(has_value, value.items))
    return not any(has_no_value(expression) for expression in parse_answer(answer))


def is_false_chain(answer: Answer) -> bool:
    """Whether it gives its value by an equation of unequal numbers, `1 + 1 = 3`."""
    if not answer.names or isinstance(answer.value, Collection):
        return False
    values = parse_answer(answer)
    return any(
        equal_values(left, right) is False
        for name in answer.names
        if "=" not in name
        for left in parse(name)
        for right in values
    )


def choose_sides(sides: Sequence[Answer]) -> Sequence[Answer]:
    """The sides of an approximation that count: all if the numbers are close, else the first if it is exact."""
    numbers = [
        float(value.evalf(15)) for side in sides for value in parse_answer(side) if is_constant(value) and value.is_real
    ]
    if all(abs(number - numbers[0]) <= CLOSE * max(abs(number), abs(numbers[0])) for number in numbers[1:]):
        return sides
    first = sides[0].value
    exact = isinstance(first, Expression) or (
        isinstance(first, Number) and not first.decimal and first.value.denominator > 1
    )
    return sides[:1] if exact else ()


def _is_percent(answer: Answer) -> bool:
    value = answer.value
    if isinstance(value, Quantity):
        return value.unit == "%"
    return isinstance(value, Number) and value.percent
