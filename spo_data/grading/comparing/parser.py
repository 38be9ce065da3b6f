r"""LaTeX to sympy by math-verify, with its errors corrected.

    parse(r"\sqrt{8}")                # (sqrt(8),)
    verify(parse("2x"), parse("x*2"))  # True

What math-verify 0.9 gets wrong, and how this module corrects it:

* It compares numbers to 15 decimals, so `1/2^{99}` equals `1/2^{98}`. `equal_values` compares numbers without symbols
  instead: rationals exactly, decimals by the tolerance of `numbers`, all others to 50 significant digits.
* It also drops small coefficients in formulas, and gives up on laws that hold for positive symbols. Two formulas are
  evaluated at points: they are unequal if they differ at one, and equal if they agree at all.
* It drops `\triangle`, primes and other signs, and reads i as a variable. They become symbols, and i becomes I.
* It reads `5 6` as 11. Such texts are not given to it.
* By default an interval never equals the inequality with the same meaning. The option that allows it is on.
* It turns a MemoryError or RecursionError in its parser into "no expression", a wrong answer. Here they are raised.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, wraps
from typing import Any

from spo_data.grading.comparing.expressions import equal_values, is_false_equation, to_sympy, unify_symbols
from spo_data.grading.comparing.points import agree_everywhere, differ_somewhere
from spo_data.grading.reading.dressing import has_balanced_braces
from spo_data.grading.reading.notation import canonical, with_constants
from spo_data.grading.reading.numbers import read_number


@lru_cache(maxsize=4096)
def parse(latex: str) -> tuple[Any, ...]:
    """The expression in a tuple, as math-verify expects it; empty if it does not parse."""
    number = read_number(latex)
    if number is not None:
        return (to_sympy(number),)
    if not has_balanced_braces(latex) or any(pattern.search(latex) for pattern in _MISREAD):
        return ()
    text = encode_signs(with_constants(_GROUPED.sub(lambda digits: digits[0].replace(",", ""), latex)))
    if "'" in text or any(command not in _READ for command in _COMMAND.findall(_ENVIRONMENT.sub("", text))):
        return ()
    # In a box, because outside LaTeX `2^{10}` would parse as 2.
    parsed = _parse(f"\\boxed{{{text}}}", [_make_latex_config()], fallback_mode="no_fallback")
    found = (expression for expression in parsed if not isinstance(expression, str))
    imaginary = _INDEXED.search(text) is None
    read = tuple(unify_symbols(expression, imaginary) for expression in found)
    return tuple(expression for expression in read if not is_false_equation(expression))


def encode_signs(text: str) -> str:
    r"""The text with a symbol for every sign that math-verify drops: `f'(2)`, `\triangle ABC`, `\frac{dy}{dx}`."""
    for pattern in _SIGNS:
        text = pattern.sub(_as_symbol, text)
    return text


def find_last_expression(text: str) -> str | None:
    """The answer that math-verify finds in a text that marks none, in the text's own wording; None if it finds none."""
    configs = [_make_latex_config(), _load_math_verify().ExprExtractionConfig()]
    found = _parse(with_constants(text), configs, fallback_mode="first_match")
    words = found[-1] if found else None
    return words if isinstance(words, str) and words.strip() else None


def verify(gold: Sequence[Any], answer: Sequence[Any]) -> bool:
    """Whether math-verify, corrected, calls the parsed expressions equal."""
    if not gold or not answer:
        return False
    try:
        return bool(
            _load_math_verify().verify(
                list(gold), list(answer), timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True
            )
        )
    except (TypeError, KeyError, AttributeError, NotImplementedError, ValueError):
        return False  # math-verify cannot compare the two, or one has no value: (-1)!


@lru_cache(maxsize=1)
def _make_latex_config() -> Any:
    from math_verify.parser import NormalizationConfig

    # No units: math-verify's include "t", "c", "ab" and more, so 3t would be 3.
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


def _raise_exhaustion(parse_text: Callable[..., Any]) -> Callable[..., Any]:
    def parse_or_raise(*arguments: Any, **named: Any) -> Any:
        try:
            return parse_text(*arguments, **named)
        except (MemoryError, RecursionError) as error:
            raise _ParserFailedError from error

    return parse_or_raise


def _correct(equal: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(equal)
    def corrected_equal(gold: Any, answer: Any, *arguments: Any, **named: Any) -> bool:
        decided = equal_values(gold, answer)
        if decided is not None:
            return decided
        if differ_somewhere(gold, answer):
            return False
        return equal(gold, answer, *arguments, **named) or agree_everywhere(gold, answer)

    return corrected_equal


def _as_symbol(match: re.Match[str]) -> str:
    """A symbol whose index is a checksum: math-verify reads only letters and digits in an index."""
    return f" q_{{{zlib.crc32(canonical(match[0]).encode())}}} "


_LETTER = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|phi|varphi|psi|theta|omega|sigma|tau|mu|lambda)(?![A-Za-z]))"
_INDEX = r"(?:_\w|_\{[^{}]*\})?"
_SIGNS = tuple(
    map(
        re.compile,
        (
            r"\\frac\s*\{\s*(?:d|\\partial)\s*(?:\^\s*\{?\d\}?)?\s*[A-Za-z]\s*\}\s*\{\s*(?:d|\\partial)\s*[A-Za-z]\s*(?:\^\s*\{?\d\}?)?\s*\}",
            rf"{_LETTER}{_INDEX}(?:'+|\^\s*\{{?\s*(?:\\prime|')+\s*\}}?)\s*(?:\([^()]*\))?",
            r"\\(?:triangle|angle|square|Box|parallelogram|odot|nabla|partial|Delta)\s*\{?[A-Za-z][A-Za-z0-9_']*\}?",
            r"\\(?:dot|ddot|vec|overline|bar|hat|tilde|overset|underline|mathcal|mathfrak|mathbf)\s*(?:\{[^{}]*\}|\\?[A-Za-z]+)(?:\s*\{[A-Za-z]+\})?",
            r"\\(?:sum|prod|lim)\s*_\s*\{\s*([a-z])\s*(?:=|\\to|\\rightarrow)[^{}]*\}(?:\s*\^\s*(?:\{[^{}]*\}|\\?\w+))?"
            r"(?=.{0,200}?_(?:\1(?![a-z])|\{[^{}]{0,50}\1))",  # else terms with a running index are constants
            r"\\(?:aleph|beth|hbar|ell|Re|Im|wp)(?:_\w|_\{\w+\})?(?![A-Za-z])",
            r"\\(?:arg|det|operatorname\{(?:Re|Im|rank|tr|sgn)\}|max|min|sup|inf)\s+[A-Za-z](?![A-Za-z({])",
        ),
    )
)
_GROUPED = re.compile(r"(?<=\{)\d{1,3}(?:,\d{3})+(?=\})")
_SPACE = r"[\s~]+"
_MISREAD = (
    re.compile(
        rf"(?<![\^_\d.])\d[\d.]*['\"\u2032\u2033]*{_SPACE}\d|\d\s*['\"\u2032\u2033]"
        r"|(?:^|[^A-Za-z}\s])\s*\{\d+\}\s*\{\d+\}"
    ),
    re.compile(r"\d_\{?\w"),
    re.compile(r"\\[lcd]?dots|\.\.\.|\u2026"),
)
"""Numbers side by side, which it adds up; integers with a base; what an ellipsis leaves out."""
_INDEXED = re.compile(r"\\(?:sum|prod|int|bigcup|bigcap)|_\{?i")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{(?:[pbvBV]?matrix|smallmatrix|array)\}")
_READ = frozenset(
    {
        *("frac", "sqrt", "binom", "cdot", "times", "div", "pi", "infty", "boxed", "circ", "mathrm"),
        *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh"),
        *(
            "log",
            "ln",
            "exp",
            "lim",
            "sum",
            "prod",
            "int",
            "max",
            "min",
            "gcd",
            "lcm",
            "to",
            "rightarrow",
            "operatorname",
        ),
        *("le", "ge", "ne", "leq", "geq", "neq", "in", "notin", "cup", "cap", "setminus", "emptyset", "mathbb"),
        *("lfloor", "rfloor", "lceil", "rceil", "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta"),
        *("eta", "theta", "vartheta", "iota", "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon"),
        *("phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi"),
        *("Psi", "Omega", "mod", "backslash", "d", "coth", "arsinh", "arcosh", "artanh", "over", "choose"),
    }
)
"""The commands that it reads as they are meant. It drops others, such as `\\perp`."""
