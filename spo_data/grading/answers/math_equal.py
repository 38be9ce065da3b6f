r"""Mathematical equality by math-verify, guarded where it errs.

    math_equal(r"\sqrt{8}", r"2\sqrt{2}")       # True

What math-verify 0.9 gets wrong, and what is done about it:

* It compares numbers to 15 decimals, so `1/2^{99}` equals `1/2^{98}`: numbers without symbols are compared here, by
  value to 50 significant digits, exactly where both are rational, and decimals by the tolerance of `numbers`.
* It chops small coefficients in formulas with symbols likewise: what it calls equal must be equal at some points too.
* It reads `5\text{ million}` and `5t` as 5, `5 6` as 11, `\mathrm{e}` as a symbol: `wording` comes first.
* An interval as ground truth never equals the inequality that says the same: its option for that is switched on.
* MemoryError and RecursionError inside its parser read as "no expression", a wrong answer: here they are raised.

Not symmetric: the ground truth decides the form (math-verify's own rule), see docs/grading.md.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, wraps
from typing import Any

from spo_data.grading.answers.dressing import has_balanced_braces, split_percent, undress
from spo_data.grading.answers.numbers import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Number, read_number
from spo_data.grading.answers.wording import names_and_values, reword, with_constants

DIGITS = 60
"""Significant digits that two numbers are evaluated to; they are equal if they agree in 50, and in 390 of 400."""


class UnparseableGoldError(ValueError):
    """The ground truth is no expression: no verdict on any answer can be true."""


def math_equal(ground_truth: str, answer: str) -> bool:
    """Whether the answer has the ground truth's value.

    Raises UnparseableGoldError where the ground truth does not parse or has no value (1/0), MemoryError where parsing
    ran out of memory or stack.
    """
    gold_text, gold_percent = split_percent(undress(ground_truth))
    answer_text, answer_percent = split_percent(undress(answer))
    gold_text, answer_text = _strip_names(gold_text, answer_text)
    gold = _parse_cached(gold_text)
    if not gold or any(_has_no_value(expression) for expression in gold):
        raise UnparseableGoldError(f"math-verify cannot parse {ground_truth[:200]!r}")
    if _normalize_space(ground_truth) == _normalize_space(answer):
        return True
    answers = _parse_cached(answer_text)
    if not any(map(_is_relation, gold)) and any(map(_is_unsolved, answers)):
        return False
    if any(map(_says_where, gold)) and any(map(_is_listed, answers)):
        return False  # the ends of a range are not the range
    if gold_percent == answer_percent:
        return _verify(gold, answers)
    bare, percent = (answers, gold_text) if gold_percent else (gold, answer_text)
    share = _parse_cached(f"\\frac{{{percent}}}{{100}}")
    if _verify(share, answers) if gold_percent else _verify(gold, share):
        return True
    if any(_is_number(expression) and abs(expression.evalf(15)) <= 1 for expression in bare):
        return False  # below 1 a bare number counts no percent
    return _verify(gold, answers)


def _normalize_space(text: str) -> str:
    """With one space for any white space, and none at commas: `100,200` may be a list as well as a number."""
    return _COMMA.sub(",", " ".join(text.split()))


_COMMA = re.compile(r" ?, ?")


def last_expression(text: str) -> str | None:
    """What math-verify itself takes for the answer in a text that marks none, as the text words it."""
    configs = [_latex(), _math_verify().ExprExtractionConfig()]
    found = _parse(with_constants(text), configs, fallback_mode="first_match")
    words = found[-1] if found else None
    return words if isinstance(words, str) and words.strip() else None


def _verify(gold: Sequence[Any], answer: Sequence[Any]) -> bool:
    if not answer:
        return False
    try:
        return bool(
            _math_verify().verify(
                list(gold), list(answer), timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True
            )
        )
    except (TypeError, KeyError, AttributeError, NotImplementedError, ValueError):
        return False  # what it cannot compare (exceptions, moduli), or what has no value: (-1)!


@lru_cache(maxsize=4096)
def _parse_cached(expression: str) -> tuple[Any, ...]:
    """The expression, in a tuple as math-verify wants it; empty where it does not parse."""
    number = read_number(expression)
    if number is not None:
        return (_sympy_number(number),)
    worded = reword(expression)
    if worded is None or not has_balanced_braces(worded):
        return ()
    number = read_number(worded)
    if number is not None:
        return (_sympy_number(number),)
    # Boxed, since `2^{10}` outside LaTeX would parse as 2.
    parsed = _parse(f"\\boxed{{{worded}}}", [_latex()], fallback_mode="no_fallback")
    named, equals, value = worded.rpartition("=")
    if not parsed and equals and any(map(str.isalpha, named)) and "=" not in named:
        return _parse_cached(value)  # what is named, such as k_{\min}, does not parse
    return tuple(expression for expression in parsed if not _is_false_equation(expression))


@lru_cache(maxsize=1)
def _latex() -> Any:
    from math_verify.parser import NormalizationConfig

    # Without its units: among them are "t", "c", "ab" and "more", so that 3t would be 3.
    wording = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return _math_verify().LatexExtractionConfig(boxed_match_priority=0, normalization_config=wording)


def _sympy_number(number: Number) -> Any:
    from sympy import Float, Rational

    exact = Rational(number.value.numerator, number.value.denominator)
    return Float(exact, DIGITS) if number.decimal else exact


def _parse(text: str, configs: list[Any], fallback_mode: str) -> list[Any]:
    try:
        return list(_math_verify().parse(text, configs, fallback_mode=fallback_mode, parsing_timeout=None))
    except _ParserFailedError as error:
        raise MemoryError(f"math-verify ran out of memory or stack on {text[:80]!r}") from error


class _ParserFailedError(BaseException):
    """math-verify takes every Exception in its parser for "no expression here", which would score 0."""


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    """math-verify, with its parser and its comparisons guarded in this process."""
    import math_verify
    import math_verify.grader
    import math_verify.parser
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    # R is not r: left to itself, it would fold all symbols to lower case.
    cased = ConversionConfig(lowercase_symbols=False)
    math_verify.parser.latex2sympy = _loud(partial(math_verify.parser.latex2sympy, conversion_config=cased))
    math_verify.parser.parse_expr = _loud(math_verify.parser.parse_expr)
    for name in ("sympy_expr_eq", "sympy_numeric_eq"):  # it looks both up in its module, for parts of sets too
        setattr(math_verify.grader, name, _guard(getattr(math_verify.grader, name)))
    return math_verify


def _loud(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_or_fail(*arguments: Any, **named: Any) -> Any:
        try:
            return parse(*arguments, **named)
        except (MemoryError, RecursionError) as error:
            raise _ParserFailedError from error

    return parse_or_fail


def _guard(equal: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(equal)
    def guarded_equal(gold: Any, answer: Any, *arguments: Any, **named: Any) -> bool:
        decided = _equal_values(gold, answer)
        if decided is not None:
            return decided
        return equal(gold, answer, *arguments, **named) and not _differ_somewhere(gold, answer)

    return guarded_equal


def _equal_values(gold: Any, answer: Any) -> bool | None:
    """Whether two numbers are equal; None where they are not both finite numbers."""
    from sympy import Float, Rational, simplify

    if not (_is_number(gold) and _is_number(answer)):
        return None
    first, second = gold.evalf(DIGITS), answer.evalf(DIGITS)
    if not (_is_finite(first) and _is_finite(second)):
        return None
    difference, size = abs(first - second), abs(first)
    if gold.has(Float) or answer.has(Float):
        absolute, relative = (Rational(limit.numerator, limit.denominator) for limit in _TOLERANCES)
        noise = Float(10) ** -13 * size  # math-verify reads a decimal's first 15 digits
        return bool(difference <= noise or (difference <= absolute and difference <= relative * size))
    largest = max(size, abs(second))
    tiny = largest < Float(10) ** (20 - DIGITS)
    if not tiny and difference > Float(10) ** (10 - DIGITS) * largest:
        return False
    gold, answer = gold.doit(), answer.doit()
    if isinstance(gold, Rational) and isinstance(answer, Rational):
        return bool(gold == answer)
    if tiny:  # what is left of an exact zero has no significant digit
        return bool(simplify(gold - answer).is_zero)
    first, second = gold.evalf(400), answer.evalf(400)
    return bool(abs(first - second) <= Float(10) ** -390 * max(abs(first), abs(second)))


_TOLERANCES = (ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE)


def _differ_somewhere(gold: Any, answer: Any) -> bool:
    """Whether two formulas have clearly different real values at one of some points."""
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


def _is_false_equation(expression: Any) -> bool:
    """`1 + 1 = 3`: whoever takes its right side for the answer believes it."""
    from sympy import Eq
    from sympy.logic.boolalg import And

    if isinstance(expression, And):
        return any(map(_is_false_equation, expression.args))
    return isinstance(expression, Eq) and _equal_values(expression.lhs, expression.rhs) is False


def _strip_names(gold: str, answer: str) -> tuple[str, str]:
    """Both without the names of variables where only one names them: a pair in the order of the names."""
    golds, answers = names_and_values(gold), names_and_values(answer)
    if golds and not answers:
        return f"({', '.join(golds.values())})", answer
    if answers and not golds:
        return gold, f"({', '.join(answers[name] for name in sorted(answers))})"
    return gold, answer


def _is_relation(expression: Any) -> bool:
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    return isinstance(expression, Relational | And)


def _is_unsolved(expression: Any) -> bool:
    """`2x = 10`, an equation in one unknown: whoever takes its right side for the answer leaves it unsolved."""
    from sympy import Abs, Eq, Symbol
    from sympy.core.function import AppliedUndef

    if not isinstance(expression, Eq):
        return False
    left = expression.lhs
    names_a_size = isinstance(left, Abs) and str(left.args[0]).isupper()
    return len(left.free_symbols) == 1 and not (isinstance(left, Symbol | AppliedUndef) or names_a_size)


def _says_where(expression: Any) -> bool:
    """Whether it says where something lies: an inequality, or an interval of which it is an element."""
    from sympy import Eq, Interval, Union
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    if isinstance(expression, Eq):
        return isinstance(expression.rhs, Interval | Union)
    parts = expression.args if isinstance(expression, And) else (expression,)
    return any(isinstance(part, Relational) and not isinstance(part, Eq) for part in parts)


def _is_listed(expression: Any) -> bool:
    from sympy import FiniteSet, Tuple

    return isinstance(expression, FiniteSet | Tuple)


def _has_no_value(expression: Any) -> bool:
    from sympy import nan, zoo

    return bool(expression.has(nan, zoo))


def _is_number(value: Any) -> bool:
    from sympy import Expr

    return isinstance(value, Expr) and not value.free_symbols and value.is_number is True


def _is_finite(value: Any) -> bool:
    return value.is_number is True and value.is_finite is True and not value.has("zoo")
