"""Sympy expressions: their kind (number, range, false equation) and whether two have the same value.

    equal_values(sympify("1/2"), sympify("3/6"))            # True
    is_range(sympify("x > 2"))                              # True

sympy is imported at the first call.
"""

from typing import Any

from spo_data.grading.reading.numbers import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Number

DIGITS = 60
"""Two numbers are evaluated to so many significant digits. They are equal if 50 agree, and then 390 of 400."""


def to_sympy(number: Number) -> Any:
    """The number as a sympy Float if it is a decimal, else as a Rational."""
    from sympy import Float, Rational

    exact = Rational(number.value.numerator, number.value.denominator)
    return Float(exact, DIGITS) if number.decimal else exact


def equal_values(gold: Any, answer: Any) -> bool | None:
    """Whether two numbers are equal, by principal or by real odd roots; None unless both are finite numbers."""
    decided = _equal_principal(gold, answer)
    if decided is not False:
        return decided
    real = with_real_roots(gold), with_real_roots(answer)
    return real != (gold, answer) and bool(_equal_principal(*real))


def with_real_roots(expression: Any) -> Any:
    r"""The expression with real odd roots of negative numbers, `\sqrt[3]{-8} = -2`; sympy's are complex."""
    from sympy import Pow, Rational

    def is_odd_root(power: Any) -> bool:
        base, exponent = power.args
        odd = isinstance(exponent, Rational) and exponent.q % 2 == 1 and exponent.q > 1
        return bool(odd and base.is_number and base.is_negative)

    roots = [power for power in expression.atoms(Pow) if is_odd_root(power)]
    return expression.xreplace({root: (-1) ** root.exp.p * (-root.base) ** root.exp for root in roots})


def _equal_principal(gold: Any, answer: Any) -> bool | None:
    from sympy import Float, Rational, simplify

    if not (is_constant(gold) and is_constant(answer)):
        return None
    first, second = (without_floats_in_sums(value).evalf(DIGITS) for value in (gold, answer))
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


def without_floats_in_sums(expression: Any) -> Any:
    """The expression with exact numbers for decimals if it has a sum: sympy takes 2.5^n in one for 2^n."""
    from sympy import Float, Integral, Product, Rational, Sum

    if not expression.has(Sum, Product, Integral) or not expression.has(Float):
        return expression
    return expression.xreplace({number: Rational(str(number)) for number in expression.atoms(Float)})


_TOLERANCES = (ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE)


def unify_symbols(expression: Any, imaginary: bool) -> Any:
    """The expression with one symbol for each name, and with sympy's I for i if that is the imaginary unit.

    math-verify calls all symbols of an expression complex if one of them is i, and sympy then calls n unequal to n.
    """
    from sympy import Expr, I, Symbol

    if not isinstance(expression, Expr):
        return expression  # relations evaluate when their symbols change
    one = {symbol: Symbol(symbol.name, real=True) for symbol in expression.atoms(Symbol)}
    return expression.xreplace({symbol: I if imaginary and symbol.name == "i" else one[symbol] for symbol in one})


def is_false_equation(expression: Any) -> bool:
    """Whether it is an equation of unequal numbers, such as `1 + 1 = 3`: its right side is not the answer."""
    from sympy import Eq
    from sympy.logic.boolalg import And

    if isinstance(expression, And):
        return any(map(is_false_equation, expression.args))
    return isinstance(expression, Eq) and equal_values(expression.lhs, expression.rhs) is False


def is_range(expression: Any) -> bool:
    """Whether it restricts something to a range: an inequality, or membership in an interval."""
    from sympy import Eq, Interval, Union
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    if isinstance(expression, Eq):
        return isinstance(expression.rhs, Interval | Union)
    parts = expression.args if isinstance(expression, And) else (expression,)
    return any(isinstance(part, Relational) and not isinstance(part, Eq) for part in parts)


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
