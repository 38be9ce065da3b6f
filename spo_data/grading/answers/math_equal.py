r"""Mathematical equality by math-verify, with its errors corrected.

    math_equal(r"\sqrt{8}", r"2\sqrt{2}")       # True

What math-verify 0.9 gets wrong, and how this module corrects it:

* It compares numbers to 15 decimals, so `1/2^{99}` equals `1/2^{98}`. `equal_values` compares numbers without symbols
  instead: rationals exactly, decimals by the tolerance of `numbers`, all others to 50 significant digits.
* It also drops small coefficients in formulas. Two formulas that it calls equal must not differ at any of three points.
* It reads `5\text{ million}` and `5t` as 5, `5 6` as 11, and `\mathrm{e}` as a symbol. `wording` rewrites these first.
* By default an interval never equals the inequality with the same meaning. The option that allows it is on.
* It turns a MemoryError or RecursionError in its parser into "no expression", a wrong answer. Here they are raised.

Equality is not symmetric: the ground truth decides the form, as in math-verify (see docs/grading.md).
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, wraps
from typing import Any

from spo_data.grading.answers.dressing import has_balanced_braces, split_percent, undress
from spo_data.grading.answers.expressions import (
    differ_somewhere,
    equal_values,
    has_no_value,
    is_collection,
    is_constant,
    is_false_equation,
    is_range,
    is_relation,
    is_unsolved,
    to_sympy,
)
from spo_data.grading.answers.numbers import read_number
from spo_data.grading.answers.wording import names_and_values, reword, with_constants


class UnparseableGoldError(ValueError):
    """The ground truth is not an expression, so no answer can be graded."""


def math_equal(ground_truth: str, answer: str) -> bool:
    """Whether the answer has the ground truth's value.

    Raises UnparseableGoldError if the ground truth does not parse or has no value (1/0), and MemoryError if parsing
    ran out of memory or stack.
    """
    gold_text, gold_percent = split_percent(undress(ground_truth))
    answer_text, answer_percent = split_percent(undress(answer))
    gold_text, answer_text = _strip_names(gold_text, answer_text)
    gold = _parse_cached(gold_text)
    if not gold or any(has_no_value(expression) for expression in gold):
        raise UnparseableGoldError(f"math-verify cannot parse {ground_truth[:200]!r}")
    if _normalize_space(ground_truth) == _normalize_space(answer):
        return True
    answers = _parse_cached(answer_text)
    if not any(map(is_relation, gold)) and any(map(is_unsolved, answers)):
        return False
    if any(map(is_range, gold)) and any(map(is_collection, answers)):
        return False  # the ends of a range are not the range
    if gold_percent == answer_percent:
        return _verify(gold, answers)
    bare, percent = (answers, gold_text) if gold_percent else (gold, answer_text)
    share = _parse_cached(f"\\frac{{{percent}}}{{100}}")
    if _verify(share, answers) if gold_percent else _verify(gold, share):
        return True
    if any(is_constant(expression) and abs(expression.evalf(15)) <= 1 for expression in bare):
        return False  # a bare number up to 1 is not a percentage
    return _verify(gold, answers)


def _normalize_space(text: str) -> str:
    """Collapse white space, and remove it at commas: `100,200` can be a list as well as a number."""
    return _COMMA.sub(",", " ".join(text.split()))


_COMMA = re.compile(r" ?, ?")


def find_last_expression(text: str) -> str | None:
    """The answer that math-verify finds in a text that marks none, in the text's own wording; None if it finds none."""
    configs = [_make_latex_config(), _load_math_verify().ExprExtractionConfig()]
    found = _parse(with_constants(text), configs, fallback_mode="first_match")
    words = found[-1] if found else None
    return words if isinstance(words, str) and words.strip() else None


def _verify(gold: Sequence[Any], answer: Sequence[Any]) -> bool:
    if not answer:
        return False
    try:
        return bool(
            _load_math_verify().verify(
                list(gold), list(answer), timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True
            )
        )
    except (TypeError, KeyError, AttributeError, NotImplementedError, ValueError):
        return False  # math-verify cannot compare the two, or one has no value: (-1)!


@lru_cache(maxsize=4096)
def _parse_cached(expression: str) -> tuple[Any, ...]:
    """The parsed expression in a tuple, as math-verify expects it; empty if it does not parse."""
    number = read_number(expression)
    if number is not None:
        return (to_sympy(number),)
    worded = reword(expression)
    if worded is None or not has_balanced_braces(worded):
        return ()
    number = read_number(worded)
    if number is not None:
        return (to_sympy(number),)
    # In a box, because outside LaTeX `2^{10}` would parse as 2.
    parsed = _parse(f"\\boxed{{{worded}}}", [_make_latex_config()], fallback_mode="no_fallback")
    named, equals, value = worded.rpartition("=")
    if not parsed and equals and any(map(str.isalpha, named)) and "=" not in named:
        return _parse_cached(value)  # some names, such as k_{\min}, do not parse
    return tuple(expression for expression in parsed if not is_false_equation(expression))


@lru_cache(maxsize=1)
def _make_latex_config() -> Any:
    from math_verify.parser import NormalizationConfig

    # No units: math-verify's include "t", "c", "ab" and "more", so 3t would be 3.
    wording = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return _load_math_verify().LatexExtractionConfig(boxed_match_priority=0, normalization_config=wording)


def _parse(text: str, configs: list[Any], fallback_mode: str) -> list[Any]:
    try:
        return list(_load_math_verify().parse(text, configs, fallback_mode=fallback_mode, parsing_timeout=None))
    except _ParserFailedError as error:
        raise MemoryError(f"math-verify ran out of memory or stack on {text[:80]!r}") from error


class _ParserFailedError(BaseException):
    """Not an Exception: math-verify catches every Exception in its parser, and the answer would score 0."""


@lru_cache(maxsize=1)
def _load_math_verify() -> Any:
    """Import math-verify, and replace its parser and its comparisons in this process."""
    import math_verify
    import math_verify.grader
    import math_verify.parser
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    # R is not r: by default all symbols become lower case.
    cased = ConversionConfig(lowercase_symbols=False)
    math_verify.parser.latex2sympy = _raise_exhaustion(partial(math_verify.parser.latex2sympy, conversion_config=cased))
    math_verify.parser.parse_expr = _raise_exhaustion(math_verify.parser.parse_expr)
    for name in ("sympy_expr_eq", "sympy_numeric_eq"):  # it looks up both in this module, even for elements of sets
        setattr(math_verify.grader, name, _correct(getattr(math_verify.grader, name)))
    return math_verify


def _raise_exhaustion(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_or_raise(*arguments: Any, **named: Any) -> Any:
        try:
            return parse(*arguments, **named)
        except (MemoryError, RecursionError) as error:
            raise _ParserFailedError from error

    return parse_or_raise


def _correct(equal: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(equal)
    def corrected_equal(gold: Any, answer: Any, *arguments: Any, **named: Any) -> bool:
        decided = equal_values(gold, answer)
        if decided is not None:
            return decided
        return equal(gold, answer, *arguments, **named) and not differ_somewhere(gold, answer)

    return corrected_equal


def _strip_names(gold: str, answer: str) -> tuple[str, str]:
    """Both texts, with assignments (`x = 2, y = 3`) turned into a tuple if only one text has them.

    The ground truth's values stay in order, the answer's are sorted by name.
    """
    golds, answers = names_and_values(gold), names_and_values(answer)
    if golds and not answers:
        return f"({', '.join(golds.values())})", answer
    if answers and not golds:
        return gold, f"({', '.join(answers[name] for name in sorted(answers))})"
    return gold, answer
