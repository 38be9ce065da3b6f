r"""Comparing formulas by their values at points: one point where they differ decides, and so do many where they agree.

    differ_somewhere(sympify("x"), sympify("x + 1"))                  # True
    agree_everywhere(parse(r"\sqrt{1/n}"), parse(r"1/\sqrt{n}"))      # True

Symbols are positive, so laws such as `\sqrt{ab} = \sqrt{a}\sqrt{b}` and `\ln x^2 = 2 \ln x` hold. Where a formula has
an absolute value, a maximum or a floor, symbols are negative too, because `|x|` is not `x`. Letters that often count
something are integers.
"""

import random
from functools import lru_cache
from typing import Any

from spo_data.grading.comparing.expressions import DIGITS, without_floats_in_sums

POINTS = 6
"""At so many positive points both formulas must have values, and agree, to be equal."""
OPERATIONS = 400
"""Larger formulas are not evaluated."""
_COUNTERS = frozenset("nmkjNM")


def differ_somewhere(gold: Any, answer: Any) -> bool:
    """Whether two formulas with symbols have different values at one of the points."""
    return _are_formulas(gold, answer) and _compare_at_points(gold, answer) is False


def agree_everywhere(gold: Any, answer: Any) -> bool:
    """Whether two formulas with the same symbols have equal values at all points."""
    return _are_formulas(gold, answer) and _compare_at_points(gold, answer) is True


def _are_formulas(gold: Any, answer: Any) -> bool:
    from sympy import Expr

    parts = (gold, answer, *getattr(gold, "args", ()), *getattr(answer, "args", ()))
    if any(getattr(part, "is_Matrix", False) for part in parts):
        return False  # their values have no number
    return isinstance(gold, Expr) and isinstance(answer, Expr)


@lru_cache(maxsize=256)
def _compare_at_points(gold: Any, answer: Any) -> bool | None:
    """Whether they agree at all points; None if too few points can be evaluated."""
    from sympy import Abs, Float, Integral, Limit, Max, Min, Product, Sum, floor
    from sympy.core.function import AppliedUndef

    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    if not symbols or gold.has(AppliedUndef) or answer.has(AppliedUndef):
        return None
    if gold.count_ops() + answer.count_ops() > OPERATIONS:
        return None
    rounded = gold.has(Float) or answer.has(Float)
    tolerance = Float(10) ** (-5 if rounded else 12 - DIGITS)
    slow = any(expression.has(Sum, Product, Integral, Limit) for expression in (gold, answer))
    points = _make_series_points(symbols) if slow else _make_points(symbols)
    if any(expression.has(Abs, Max, Min, floor) for expression in (gold, answer)):
        points += [{**points[0], symbol: -points[0][symbol]} for symbol in symbols if str(symbol) not in _COUNTERS]
    agreed = 0
    for point in points:
        first, second = _evaluate(gold, point), _evaluate(answer, point)
        if first is None or second is None:
            continue
        if abs(first - second) > tolerance * max(abs(first), abs(second), Float(10) ** -10):
            return False
        agreed += 1
    return True if agreed >= (2 if slow else POINTS - 1) else None


def _make_points(symbols: list[Any]) -> list[dict[Any, Any]]:
    """Positive points, the first of them below one half."""
    from sympy import Float

    exact = [_draw(symbols, random.Random(k), 9999 if k else 499) for k in range(POINTS)]
    return [{symbol: Float(value, DIGITS) for symbol, value in point.items()} for point in exact]


def _make_series_points(symbols: list[Any]) -> list[dict[Any, Any]]:
    """Exact points, two of them where series converge: sympy takes a Float in an infinite sum for an integer."""
    return [_draw(symbols, random.Random(k), below) for k, below in enumerate((499, 499, 9999))]


def _draw(symbols: list[Any], rng: random.Random, below: int) -> dict[Any, Any]:
    from sympy import Integer, Rational

    return {
        symbol: Integer(rng.randint(1, 9)) if str(symbol) in _COUNTERS else Rational(rng.randint(99, below), 997)
        for symbol in symbols
    }


def _evaluate(expression: Any, point: dict[Any, Any]) -> Any:
    """The complex value at a point, real roots of negative numbers being real; None if it has none."""
    try:
        value = without_floats_in_sums(expression.xreplace(point)).evalf(DIGITS)
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError, KeyError):
        return None
    if value.free_symbols or value.is_number is not True or value.is_finite is not True:
        return None
    from sympy import Add, Float, I

    real, imaginary = value.as_real_imag()
    if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
        return None
    if abs(imaginary) <= Float(10) ** (15 - DIGITS) * abs(real):
        return real
    return Add(real, imaginary * I)
