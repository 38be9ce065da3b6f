r"""Rewriting the words in a formula as LaTeX, because math-verify multiplies their letters or drops them.

    reword(r"5\text{ million}")       # r"5\cdot10^{6}"
    reword(r"5 \text{ apples}")       # "5"
    reword("5 or 6 maybe 5")          # "5 , 6 , 5"
    reword("5 feet 3 inches")         # None

Units are dropped, magnitudes multiply, "or" and "and" separate answers. The result is None if words or numbers stand
side by side in a way that has no value: math-verify would take the first number, or add them up.
"""

import re

from spo_data.grading.answers.dressing import to_latex, undress
from spo_data.grading.answers.numbers import read_number


def reword(expression: str) -> str | None:
    """The expression with its words in LaTeX; None if its words or numbers have no value to compare."""
    text = _LEADING.sub("", with_constants(to_latex(expression)))
    text = _EDGES.sub("", _SEPARATORS.sub(",", _FONTS.sub("", text)))
    for _ in range(3):
        text = _UNIT_RATIO.sub(r"\1/", text)  # \mathrm{km}/\mathrm{h} is one unit
    text = _REVERSED.sub(r"\2 = \1", _LOG_BASE.sub(r"\\log_{\1}", text))
    text = _THOUSANDS.sub("", text)
    if not _BRACKETS.search(text):
        text = _PLAIN_THOUSANDS.sub(lambda match: "".join(filter(str.isdigit, match[0])), text)
    try:
        text = _UNITS.sub(_replace_unit, text)
    except _NoUnitError:
        return None
    if "," in text:
        text = _PERCENT_SIGN.sub("", text)
    unreadable = _BETWEEN_NUMBERS, _NUMBER_BASE, _ELLIPSIS
    return None if any(pattern.search(text) for pattern in unreadable) or _approximates_badly(text) else text


def names_and_values(text: str) -> dict[str, str]:
    """The value of each variable in `x = 2, y = 3`; empty unless the text is two or more assignments."""
    pairs = [_ASSIGNMENT.fullmatch(part) for part in text.split(",")]
    named = {pair[1]: pair[2].strip() for pair in pairs if pair is not None}
    return named if len(named) == len(pairs) > 1 else {}


def with_constants(text: str) -> str:
    r"""The text with `e` for `\mathrm{e}`, `\pi` for `pi`, `\sin` for `sin`, and `{i}` for every bare `i`."""
    text = _PLAIN_PI.sub(r"\\pi ", _ROMAN.sub(lambda match: f"{{{match[1].strip()}}}", text))
    text = _PLAIN_FUNCTION.sub(r"\\\1 ", text.replace(r"\varnothing", r"\emptyset"))
    return text if _INDEXED.search(text) else _BARE_I.sub("{i}", text)


def is_text(ground_truth: str) -> bool:
    """Whether a ground truth is words rather than a formula; if so, answers are compared as text."""
    bare = undress(ground_truth)
    if _TIME.fullmatch(bare):
        return True
    if _WORDS.fullmatch(bare):
        return _CHOICE.fullmatch(bare) is not None or any(
            len(word) > 1 and not _is_symbols(word) for word in re.findall("[A-Za-z]+", bare)
        )
    worded = reword(bare)
    if worded is None:
        return any(character.isalpha() for character in _COMMAND.sub("", bare))
    value = _COMMAND.sub(" ", worded.rpartition("=")[2])
    return not all(map(_is_symbols, _LONG_WORD.findall(value)))


def _is_symbols(word: str) -> bool:
    """Whether a run of letters is a function's name or a product of common variables, not a word."""
    return word.casefold() in _FUNCTIONS or _VARIABLES.fullmatch(word) is not None


def fold(text: str) -> str:
    """The words in lower case, without LaTeX's text commands, extra white space and surrounding punctuation."""
    text = _TEXT_COMMAND.sub(r"\1", undress(text))
    return " ".join(text.strip(" .()").split()).casefold()


_SPACE = r"(?:\s|~|\\[,;:! ]|\\q?quad)*"
_NAMES = r"(?:text(?:bf|rm|it|normal)?|math(?:rm|bf|it)|mbox|operatorname)"
_SPLITTERS = r"(?:or|and|maybe|perhaps|possibly|probably|either)"

_ROMAN = re.compile(rf"\\{_NAMES}\s*\{{([eixyznkabc]|\\pi)\}}(?!\s*[A-Za-z])")
_BARE_I = re.compile(r"(?<![A-Za-z\\{])i(?![A-Za-z}])")
_INDEXED = re.compile(r"\\(?:sum|prod|int|bigcup|bigcap)|_\{?i")
_LOG_BASE = re.compile(r"\\log\s*_\s*(\d|[a-z])(?=[\s(\d])")
_REVERSED = re.compile(r"^\s*([+-]?\d[\d.,]*)\s*=\s*([A-Za-z])\s*$")
_PERCENT_SIGN = re.compile(r"\s*\\?%")
_NUMBER_BASE = re.compile(r"\d_\{?\w")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|\.\.\.|\u2026")
_FONTS = re.compile(
    r"\\(?:bf|rm|it|sf|large|Large|LARGE|huge|Huge|displaystyle|textstyle|boldsymbol|bm)(?![A-Za-z])"
    r"|\\tag\s*\{[^{}]*\}|\\\\\s*$"
)
_UNIT_RATIO = re.compile(rf"(\\{_NAMES}\s*\{{[^{{}}]*)\}}(?:\^\{{?[23]\}}?)?\s*/\s*\\{_NAMES}\s*\{{(?=[^{{}}]*\}})")
_TIME = re.compile(r"\d{1,2}:\d{2}(?:\s*(?:\\text\s*\{)?\s*[ap]\.?\s?m\.?\s*\}?)?", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"\s*([A-Za-z](?:_\{?\w+\}?)?)\s*=([^=<>]+)")
_BRACKETS = re.compile(r"[(\[]|\\\{")
_PLAIN_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,]|\s*,)|(?<![\d,.])\d{1,3}(?: \d{3})+(?!\d| \d)")
_PLAIN_PI = re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])")
_PLAIN_FUNCTION = re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln|exp)(?![A-Za-z])(?!\})")
_LEADING = re.compile(r"^\s*(?:=|\\approx)\s*")
_SEPARATORS = re.compile(
    rf"\\{_NAMES}\s*\{{\s*,?\s*{_SPLITTERS}\s*\}}|(?<![A-Za-z\\]){_SPLITTERS}(?![A-Za-z])(?=[^{{}}]*(?:$|\{{))"
)
_EDGES = re.compile(rf"^(?:{_SPACE},)+|,(?={_SPACE},)|(?:,{_SPACE})+$")
_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,!]|\{,\}|~|\\ )(?=\d{3}(?!\d))")
_TWO_LETTER_UNIT = r"(?:[cdkmn]m|[km]g|gm|lb|oz|ft|in|yd|mi|hr|ml|mL|cc|k[WJV]|Hz|cd|sq|of)"
_SHORT_UNIT = rf"(?:{_TWO_LETTER_UNIT}|[mghsLlVAWNJCFK])"
_SHORT_WORD = re.compile(_SHORT_UNIT)
_COUNTERS = "个元度米厘毫分平方立千克斤升小时秒天年月日岁人名条种次块角只支本张件页棵辆台间组"
_UNITS = re.compile(
    rf"(?<=[\w}})\]!%])(?:{_SPACE}(?:\\{_NAMES}\s*\{{(?P<text>(?:[^{{}}]|\^\{{-?[1-4]\}})*)\}}"
    rf"|(?<=[\s~}}])(?P<bare>[A-Za-z]{{3,}}(?:\s+[A-Za-z]+)*|{_SHORT_UNIT}))"
    rf"|(?<=\d)(?P<attached>{_TWO_LETTER_UNIT}|[{_COUNTERS}]+))"
    rf"(?:\s*\^\s*\{{?\s*[23]\s*\}}?)?(?={_SPACE}(?:$|[,;)\]]|\\\}}))"
)
_SOME_SPACE = r"(?:\s|~|\\[,;:! ]|\\q?quad(?![A-Za-z]))+"
_BETWEEN_NUMBERS = re.compile(
    rf"(?<![\^_\d.])\d[\d.]*['\"\u2032\u2033]*{_SOME_SPACE}\d|\d['\"\u2032\u2033]+\s*\d"
    rf"|(?:^|[^A-Za-z}}\s])\s*\{{\d+\}}\s*\{{\d+\}}"
    rf"|\d{_SPACE}(?:\\{_NAMES}\s*\{{[^{{}}]*\}}|[A-Za-z]{{3,}}){_SPACE}\d"
)
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[a-z]*\}|\\[A-Za-z]+")
_VARIABLES = re.compile(r"[xyz]+|[abc]+|[mn]+|[pqr]+|[uvw]+")
_LONG_WORD = re.compile(r"[A-Za-z]{3,}")
_TEXT_COMMAND = re.compile(rf"\\{_NAMES}\s{{0,4}}\{{([^{{}}]*)\}}")
_WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)*")
_CHOICE = re.compile(r"[A-Za-df-h]")

_FUNCTIONS = frozenset(
    {
        *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
        *("pi", "ln", "log", "exp", "max", "min", "gcd", "lcm", "mod", "det", "lim", "sqrt", "deg", "inf", "sup"),
        *("infinity",),
    }
)
_MAGNITUDES = {
    **dict.fromkeys(("hundred", "hundreds"), r"\cdot 10^{2}"),
    **dict.fromkeys(("thousand", "thousands"), r"\cdot 10^{3}"),
    **dict.fromkeys(("million", "millions"), r"\cdot 10^{6}"),
    **dict.fromkeys(("billion", "billions"), r"\cdot 10^{9}"),
    **dict.fromkeys(("trillion", "trillions"), r"\cdot 10^{12}"),
    **dict.fromkeys(("dozen", "dozens"), r"\cdot 12"),
}
# Words that change the value or the meaning of the number before them.
_NOT_UNITS = re.compile(
    r"(?:e|is|are|was|not|no|or|and|but|if|when|where|for|to|than|more|less|fewer|least|most|above|below|over|under|plus"
    r"|minus|times|mod|modulo|choose|factorial|squared|cubed|half|halves|thirds?|quarters?|\w+ths?|\w+illions?|percent"
    r"|couples?|mil|millones|millonen|permille|points?|doubled|halved|tripled|multiplied|squares?|cubes?|inverse|tens"
    r"|negative|incorrect|false|isn|doesn|aren|fails|excluded|never|cannot|invalid|except|without"
    r"|dozens?|score|gross|hundreds?|thousands?|lakhs?|crores?|wrong|remainder|none|[ap]m|[ap]"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty(?:\s\w+)?)"
)
_UNIT_WORDS = re.compile(r"[\s./()\u00b7^{}*'-]*(?:[^\W\d_]+\.?(?:\^?\{?-?[1-4]\}?)?[\s./()\u00b7^{}*'-]*)+")


_CURRENCIES = set(" $\u20ac\u00a3\u00a5\u20b9")


def _approximates_badly(text: str) -> bool:
    r"""Whether the text says `a \approx b` of two numbers that differ by more than 5 %."""
    sides = [read_number(side) for side in text.split("\\approx")]
    known = [float(side.value) for side in sides if side is not None]
    return len(sides) > 1 and len(known) > 1 and abs(known[0] - known[-1]) > 0.05 * max(abs(known[0]), abs(known[-1]))


class _NoUnitError(Exception):
    pass


def _replace_unit(match: re.Match[str]) -> str:
    if match["attached"] is not None:
        return ""
    said = match["text"] if match["text"] is not None else match["bare"]
    words = re.sub(r"\\[,;:! ]|~", " ", said).casefold()
    if not words.strip():
        return " "
    if set(words) <= _CURRENCIES or all(character in _COUNTERS for character in words.strip()):
        return ""
    if not words.isascii() or not _UNIT_WORDS.fullmatch(words):
        raise _NoUnitError  # an unknown word may be a magnitude in another language
    first, *others = re.findall(r"[^\W\d_]+", words)
    factor = ""
    while first in _MAGNITUDES:  # as in five hundred thousand
        factor += _MAGNITUDES[first]
        if not others:
            return factor
        first, *others = others
    every = (first, *others)
    if first in _FUNCTIONS or any(map(_NOT_UNITS.fullmatch, every)):
        raise _NoUnitError
    if any(len(word) < 3 and not _SHORT_WORD.fullmatch(word) for word in re.findall(r"[^\W\d_]+", said)):
        raise _NoUnitError  # a variable, or an abbreviation of thousand
    return factor
