r"""Reading and comparing plain numbers without sympy: in most datasets, most answers are plain numbers.

    read_number(r"\frac{1}{2}")                                     # Number(Fraction(1, 2))
    equal_numbers(read_number("50\\%"), read_number("0.5"))          # True

Integers with or without thousands separators, decimals, repeating decimals, powers of ten, fractions and mixed numbers,
in LaTeX or not. All arithmetic is exact.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from spo_data.grading.reading.dressing import split_percent, undress

MAX_CHARACTERS = 1200
"""Longer texts are left to math-verify: Python's conversion is quadratic, and refuses more than 4,300 digits."""
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
    """The number that the text as a whole denotes; None if it is anything else."""
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
    """Whether the values are equal; if one is a decimal, to six decimals and five significant digits.

    If only one side has a percent sign, `50%` equals 0.5, and also 50: a bare number above 1 may be a percentage.
    """
    decimal = gold.decimal or answer.decimal
    if gold.percent == answer.percent:
        return _agree(gold.value, answer.value, decimal)
    percent, bare = (gold, answer) if gold.percent else (answer, gold)
    if _agree(percent.value / 100, bare.value, decimal):
        return True
    return abs(bare.value) > 1 and _agree(percent.value, bare.value, decimal)


def equal_in_base(gold: str, answer: str) -> bool | None:
    """Whether two integers are equal, at least one of them with its base (`101_2`); None for any other texts.

    If only the ground truth names its base, the digits must be the same.
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
    """Whether the text is a plain integer or decimal, so that only one value is right, however it is written."""
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


def _agree(gold: Fraction, answer: Fraction, decimal: bool) -> bool:
    if gold == answer:
        return True
    difference = abs(gold - answer)
    return decimal and difference <= ABSOLUTE_TOLERANCE and difference <= RELATIVE_TOLERANCE * abs(gold)


def _keep_digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _apply_sign(match: re.Match[str], value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value


def _read_decimal(match: re.Match[str]) -> Number | None:
    whole, fraction, repeated = _keep_digits(match["whole"] or ""), match["fraction"] or "", match["repeated"] or ""
    if not whole + fraction + repeated:
        return None
    value = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction))
    if repeated:
        value += Fraction(int(repeated), 10 ** len(fraction) * (10 ** len(repeated) - 1))
    value *= Fraction(10) ** int((match["e"] or match["power"] or "0").replace(" ", ""))
    return Number(_apply_sign(match, value), decimal=match["point"] is not None and not repeated)


def _divide(groups: tuple[str | None, ...]) -> Fraction:
    top_sign, top, bottom_sign, bottom, *short = groups
    if top is None or bottom is None:
        top, bottom = (short[0], short[1]) if short[0] else (short[2], short[3])
        top_sign = bottom_sign = ""
    assert top is not None
    assert bottom is not None
    value = Fraction(int(top), int(bottom))
    return -value if (top_sign == "-") != (bottom_sign == "-") else value


def _read_fraction(match: re.Match[str]) -> Number:
    return Number(_apply_sign(match, _divide(match.groups()[1:])))


def _read_mixed(match: re.Match[str]) -> Number:
    return Number(_apply_sign(match, int(_keep_digits(match["whole"])) + _divide(match.groups()[2:])))


def _read_plain_mixed(match: re.Match[str]) -> Number:
    return Number(_apply_sign(match, int(match["whole"]) + Fraction(int(match["top"]), int(match["bottom"]))))


def _read_slash(match: re.Match[str]) -> Number:
    bottom_sign, bottom = match["bottom_sign"], int(_keep_digits(match["bottom"]))
    value = Fraction(int(_keep_digits(match["top"])), bottom)
    return Number(_apply_sign(match, -value if bottom_sign == "-" else value))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Number | None]], ...] = (
    (
        re.compile(
            rf"{_SIGN}(?P<whole>{_DIGITS})?(?P<point>\.(?P<fraction>\d*)(?:\\(?:overline|bar)\s*\{{(?P<repeated>\d+)\}})?)?"
            r"(?:[eE](?P<e>[+-]?\d{1,3})|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*\{?\s*(?P<power>[+-]?\s*\d{1,3})\s*\}?)?"
        ),
        _read_decimal,
    ),
    (re.compile(rf"{_SIGN}{_FRACTION}"), _read_fraction),
    (re.compile(rf"{_SIGN}(?P<whole>\d+)\s*(?:\\[ ,;!])?\s*{_FRACTION}"), _read_mixed),
    (re.compile(rf"{_SIGN}(?P<whole>\d+)\s+(?P<top>\d+)\s*/\s*(?P<bottom>\d+)"), _read_plain_mixed),
    (re.compile(rf"{_SIGN}(?P<top>{_DIGITS})\s*/\s*(?P<bottom_sign>[+-]?)\s*(?P<bottom>{_DIGITS})"), _read_slash),
)
