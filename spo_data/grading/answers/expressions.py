"""Sympy expressions: their kind (number, range, unsolved equation) and whether two have the same value.

    equal_values(sympify("1/2"), sympify("3/6"))            # True
    differ_somewhere(sympify("x"), sympify("x + 1"))        # True
    is_unsolved(Eq(2 * x, 10))                              # True

sympy is imported at the first call.
"""

from typing import Any

from spo_data.grading.answers.numbers import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Number

DIGITS = 60
"""Two numbers are evaluated to so many significant digits. They are equal if 50 agree, and then 390 of 400."""


def to_sympy(number: Number) -> Any:
    """The number as a sympy Float if it is a decimal, else as a Rational."""
    from sympy import Float, Rational

    exact = Rational(number.value.numerator, number.value.denominator)
    return Float(exact, DIGITS) if number.decimal else exact


def equal_values(gold: Any, answer: Any) -> bool | None:
    """Whether two numbers are equal; None unless both are finite numbers."""
    from sympy import Float, Rational, simplify

    if not (is_constant(gold) and is_constant(answer)):
        return None
    first, second = gold.evalf(DIGITS), answer.evalf(DIGITS)
    if not (_is_finite(first) and _is_finite(second)):
        return None
    difference, size = abs(first - second), abs(first)
    if gold.has(Float) or answer.has(Float):
        absolute, relative = (Rational(limit.numerator, limit.denominator) for limit in _TOLERANCES)
        noise = Float(10) ** -13 * size  # math-verify reads only a decimal's first 15 digits
        return bool(difference <= noise or (difference <= absolute and difference <= relative * size))
    largest = max(size, abs(second))
    tiny = largest < Float(10) ** (20 - DIGITS)
    if not tiny and difference > Float(10) ** (10 - DIGITS) * largest:
        return False
    gold, answer = gold.doit(), answer.doit()
    if isinstance(gold, Rational) and isinstance(answer, Rational):
        return bool(gold == answer)
    if tiny:  # a rounded zero has no significant digits
        return bool(simplify(gold - answer).is_zero)
    first, second = gold.evalf(400), answer.evalf(400)
    return bool(abs(first - second) <= Float(10) ** -390 * max(abs(first), abs(second)))


_TOLERANCES = (ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE)


def differ_somewhere(gold: Any, answer: Any) -> bool:
    """Whether two formulas with symbols have clearly different real values at one of three points."""
    from sympy import Expr, Float, Integer

    if not (isinstance(gold, Expr) and isinstance(answer, Expr)):
        return False
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    tolerance = Float(10) ** (-5 if gold.has(Float) or answer.has(Float) else 10 - DIGITS)
    for offset in (2, 5, 9) if symbols else ():
        point = {symbol: Integer(offset + 2 * k) for k, symbol in enumerate(symbols)}
        first, second = (expression.xreplace(point).evalf(DIGITS) for expression in (gold, answer))
        if not (first.is_real and second.is_real and _is_finite(first) and _is_finite(second)):
            continue
        if abs(first - second) > tolerance * max(abs(first), abs(second)):
            return True
    return False


def is_false_equation(expression: Any) -> bool:
    """Whether it is an equation of unequal numbers, such as `1 + 1 = 3`: its right side is not the answer."""
    from sympy import Eq
    from sympy.logic.boolalg import And

    if isinstance(expression, And):
        return any(map(is_false_equation, expression.args))
    return isinstance(expression, Eq) and equal_values(expression.lhs, expression.rhs) is False


def is_relation(expression: Any) -> bool:
    """Whether it is an equation or inequality, or several."""
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    return isinstance(expression, Relational | And)


def is_unsolved(expression: Any) -> bool:
    """Whether it is an unsolved equation in one unknown, such as `2x = 10`: its right side is not the answer."""
    from sympy import Abs, Eq, Symbol
    from sympy.core.function import AppliedUndef

    if not isinstance(expression, Eq):
        return False
    left = expression.lhs
    names_a_size = isinstance(left, Abs) and str(left.args[0]).isupper()
    return len(left.free_symbols) == 1 and not (isinstance(left, Symbol | AppliedUndef) or names_a_size)


def is_range(expression: Any) -> bool:
    """Whether it restricts something to a range: an inequality, or membership in an interval."""
    from sympy import Eq, Interval, Union
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    if isinstance(expression, Eq):
        return isinstance(expression.rhs, Interval | Union)
    parts = expression.args if isinstance(expression, And) else (expression,)
    return any(isinstance(part, Relational) and not isinstance(part, Eq) for part in parts)


def is_collection(expression: Any) -> bool:
    """Whether it is a tuple or a finite set."""
    from sympy import FiniteSet, Tuple

    return isinstance(expression, FiniteSet | Tuple)


def has_no_value(expression: Any) -> bool:
    """Whether it divides by zero or is undefined."""
    from sympy import nan, zoo

    return bool(expression.has(nan, zoo))


def is_constant(value: Any) -> bool:
    """Whether it is a number without symbols."""
    from sympy import Expr

    return isinstance(value, Expr) and not value.free_symbols and value.is_number is True


def _is_finite(value: Any) -> bool:
    return value.is_number is True and value.is_finite is True and not value.has("zoo")
