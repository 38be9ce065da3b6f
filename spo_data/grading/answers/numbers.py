r"""Plain numbers, read and compared without sympy: most answers of most datasets are nothing else.

    read_number(r"\frac{1}{2}")                                     # Number(Fraction(1, 2))
    equal_numbers(read_number("50\\%"), read_number("0.5"))          # True

Integers with or without thousands separators, decimals, repeating decimals, powers of ten, fractions and mixed numbers,
in LaTeX or not. All arithmetic is exact.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from spo_data.grading.answers.dressing import split_percent, undress

MAX_CHARACTERS = 1200
"""Longer texts are left to math-verify: Python's own conversion is quadratic, and ends at 4,300 digits."""
ABSOLUTE_TOLERANCE = Fraction(5, 10**7)
RELATIVE_TOLERANCE = Fraction(1, 10**5)
"""A decimal may be a rounded value: it must agree to six decimals and to five significant digits."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: Fraction
    decimal: bool = False
    """Written with a decimal point: perhaps rounded."""
    percent: bool = False


def read_number(text: str) -> Number | None:
    """The number that the whole text is; None where it is anything else."""
    if len(text) > MAX_CHARACTERS or not any(character.isdigit() for character in text):
        return None
    bare, percent = split_percent(undress(text))
    bare = _DEGREES.sub("", bare)
    for pattern, read in _FORMS:
        match = pattern.fullmatch(bare)
        if match is not None:
            try:
                number = read(match)
            except ZeroDivisionError:
                return None
            return None if number is None else replace(number, percent=percent)
    return None


def equal_numbers(gold: Number, answer: Number) -> bool:
    """Equal values; a decimal to six decimals.

    A percent sign may be missing on one side: `50%` is 0.5, and it is 50, as a bare number above 1 may count percent.
    """
    decimal = gold.decimal or answer.decimal
    if gold.percent == answer.percent:
        return _equal(gold.value, answer.value, decimal)
    percent, bare = (gold, answer) if gold.percent else (answer, gold)
    if _equal(percent.value / 100, bare.value, decimal):
        return True
    return abs(bare.value) > 1 and _equal(percent.value, bare.value, decimal)


def equal_in_base(gold: str, answer: str) -> bool | None:
    """Whether two integers of which one names its base are the same; None for others.

    The same digits will do where the ground truth names the base and the answer leaves it out.
    """
    golds, answers = _BASED.fullmatch(undress(gold)), _BASED.fullmatch(undress(answer))
    if golds is None or answers is None or not (golds["base"] or answers["base"]):
        return None
    if golds["base"] is None:
        try:
            return int(golds["digits"]) == int(answers["digits"], int(answers["base"]))
        except ValueError:  # a digit that the base does not have
            return False
    return int(golds["digits"]) == int(answers["digits"]) and answers["base"] in (None, golds["base"])


def is_number(text: str) -> bool:
    """Whether the text is a plain integer or decimal: then one value alone is right, however it is written."""
    return _PLAIN.fullmatch(text.strip()) is not None


_BASED = re.compile(r"(?P<digits>[0-9]{1,300})(?:_\{?(?:\\text\{)?(?P<base>[0-9]{1,2})\}?\}?)?")
_PLAIN = re.compile(r"[+-]?\d+(?:\.\d+)?")
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree)\s*(?:[CF]|\\(?:text|mathrm)\{\s*[CF]\s*\})?$")

_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3})+|\d{1,3}(?:(?:\\[,! ;]|[ ~])\d{3})+|\d{1,3}(?:\\!,\d{3}|,\\!\d{3})+|\d+)"
_SIGN = r"(?P<sign>[+-]?)\s*"
_INTEGER_IN_BRACES = r"\s*([+-]?)\s*(\d+)\s*"
_FRACTION = (
    rf"\\[dtc]?frac\s*(?:\{{{_INTEGER_IN_BRACES}\}}\s*\{{{_INTEGER_IN_BRACES}\}}"
    r"|(\d)\s*(\d)|(\d)\s*\{\s*(\d+)\s*\})"
)


def _equal(gold: Fraction, answer: Fraction, decimal: bool) -> bool:
    if gold == answer:
        return True
    difference = abs(gold - answer)
    return decimal and difference <= ABSOLUTE_TOLERANCE and difference <= RELATIVE_TOLERANCE * abs(gold)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _with_sign(match: re.Match[str], value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value


def _decimal(match: re.Match[str]) -> Number | None:
    whole, fraction, repeated = _digits(match["whole"] or ""), match["fraction"] or "", match["repeated"] or ""
    if not whole + fraction + repeated:
        return None
    value = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction))
    if repeated:
        value += Fraction(int(repeated), 10 ** len(fraction) * (10 ** len(repeated) - 1))
    value *= Fraction(10) ** int((match["e"] or match["power"] or "0").replace(" ", ""))
    return Number(_with_sign(match, value), decimal=match["point"] is not None and not repeated)


def _fraction_value(groups: tuple[str | None, ...]) -> Fraction:
    top_sign, top, bottom_sign, bottom, *short = groups
    if top is None or bottom is None:
        top, bottom = (short[0], short[1]) if short[0] else (short[2], short[3])
        top_sign = bottom_sign = ""
    assert top is not None
    assert bottom is not None
    value = Fraction(int(top), int(bottom))
    return -value if (top_sign == "-") != (bottom_sign == "-") else value


def _latex_fraction(match: re.Match[str]) -> Number:
    return Number(_with_sign(match, _fraction_value(match.groups()[1:])))


def _read_mixed(match: re.Match[str]) -> Number:
    return Number(_with_sign(match, int(_digits(match["whole"])) + _fraction_value(match.groups()[2:])))


def _read_plain_mixed(match: re.Match[str]) -> Number:
    return Number(_with_sign(match, int(match["whole"]) + Fraction(int(match["top"]), int(match["bottom"]))))


def _slash(match: re.Match[str]) -> Number:
    bottom_sign, bottom = match["bottom_sign"], int(_digits(match["bottom"]))
    value = Fraction(int(_digits(match["top"])), bottom)
    return Number(_with_sign(match, -value if bottom_sign == "-" else value))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Number | None]], ...] = (
    (
        re.compile(
            rf"{_SIGN}(?P<whole>{_DIGITS})?(?P<point>\.(?P<fraction>\d*)(?:\\(?:overline|bar)\s*\{{(?P<repeated>\d+)\}})?)?"
            r"(?:[eE](?P<e>[+-]?\d{1,3})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{?\s*(?P<power>[+-]?\s*\d{1,3})\s*\}?)?"
        ),
        _decimal,
    ),
    (re.compile(rf"{_SIGN}{_FRACTION}"), _latex_fraction),
    (re.compile(rf"{_SIGN}(?P<whole>\d+)\s*(?:\\[ ,;!])?\s*{_FRACTION}"), _read_mixed),
    (re.compile(rf"{_SIGN}(?P<whole>\d+)\s+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"), _read_plain_mixed),
    (re.compile(rf"{_SIGN}(?P<top>{_DIGITS})\s*/\s*(?P<bottom_sign>[+-]?)\s*(?P<bottom>{_DIGITS})"), _slash),
)
