r"""The parts of an answer that has several: where it is split, and how parts make a list.

split_parts("1, 2 or 3")                   # ["1", "2", "3"]
expand_signs(r"\frac{1 \pm \sqrt{5}}{2}")   # both values
"""

import re
from dataclasses import replace
from itertools import product

from spo_data.grading.reading.kinds import Answer, Collection, Form
from spo_data.grading.reading.named_values import tuple_names
from spo_data.grading.reading.structure import has_top, split_top

LONG = 200
"""A longer text is no quantity in words."""
SIGNS = 4
r"""A text with more `\pm` is not expanded."""


def split_parts(text: str) -> list[str]:
    """The parts of an answer with several; one if the commas belong to numbers, functions or words."""
    text = _OR_IN_TEXT.sub(" , ", _OR_AFTER_WORDS.sub(r"\1} , ", _AFTER_UNIT.sub(r"\1, ", text)))
    if re.fullmatch(r"[\d,.\s-]+", text) and _THOUSANDS.fullmatch(text.strip()):
        return [text]
    groups = split_top(text, _SEMICOLON)
    if len(groups) > 1 and has_top(text, COMMA):
        return [f"({group.strip()})" if has_top(group, COMMA) else group.strip() for group in groups]
    if len(text) < LONG and _COUNTED_TOGETHER.fullmatch(text):
        return [text]
    parts = [part.strip() for part in split_top(text, _LIST_SEPARATOR)]
    parts = [part for part in parts if part and not _FILLER.fullmatch(part)]
    return parts if parts and all(map(_VALUE.search, parts)) else [text]


def separate_equations(text: str) -> str:
    """The text with a comma between equations that only wide space, a new line or "and" as a sign tells apart."""
    first, equals, rest = text.partition("=")
    return first + equals + _BETWEEN_EQUATIONS.sub(" , ", rest) if equals and "\\begin" not in text else text


def expand_signs(text: str) -> list[str]:
    r"""The text with every combination of signs, alone if it has none or too many; `\mp` is what `\pm` is not."""
    signs = _PLUS_MINUS.findall(text)
    if not 0 < len(signs) <= SIGNS:
        return [text]
    pieces = _PLUS_MINUS.split(text)
    if "\\mp" in signs:
        choices = [["+" if sign == upper else "-" for sign in signs] for upper in ("\\pm", "\\mp")]
    else:
        choices = [list(chosen) for chosen in product("+-", repeat=len(signs))]
    return ["".join(map("".join, zip(pieces, [*chosen, ""], strict=True))) for chosen in choices]


def name_list(items: list[Answer], text: str) -> Answer:
    """A list of answers; a name that is said once before all of them, or repeated for each, is the list's."""
    items = _group_records(items)
    names = [item.names for item in items]
    if names[0] and (not any(names[1:]) or all(name == names[0] for name in names)):
        first = items[0]
        if not tuple_names(names[0][-1]):
            items = [replace(item, names=()) for item in items]
            merged = tuple(part for item in items for part in flatten(item))
            return Answer(Collection(Form.LIST, merged, latex=text), names[0], text=text)
        items = [replace(first, names=()), *(replace(item, names=()) for item in items[1:])]
    return Answer(Collection(Form.LIST, tuple(part for item in items for part in flatten(item)), latex=text), text=text)


def flatten(item: Answer) -> tuple[Answer, ...]:
    """The items of a list within a list, such as the two of `\\pm 1`."""
    value = item.value
    if isinstance(value, Collection) and value.form is Form.LIST:
        return tuple(replace(one, names=item.names or one.names) for one in value.items)
    return (item,)


def _group_records(items: list[Answer]) -> list[Answer]:
    """`x=1, y=2, x=2, y=1` as two pairs: a name that comes again begins another solution."""
    names = [item.names[-1] if item.names else "" for item in items]
    size = names.index(names[0], 1) if names.count(names[0]) > 1 else len(names)
    rows = [names[start : start + size] for start in range(0, len(names), size)]
    if size < 2 or len(rows) < 2 or not all(names) or any(row != rows[0] for row in rows) or len(set(rows[0])) < size:
        return items
    starts = range(0, len(items), size)
    return [Answer(Collection(Form.TUPLE, tuple(items[start : start + size]))) for start in starts]


_BETWEEN_EQUATIONS = re.compile(
    r"(?<![\s,;{\\])\s*(?:\\q?quad(?![A-Za-z])|\\\\(?![A-Za-z])|\\(?:land|wedge)(?![A-Za-z]))\s*"
    r"(?=(?!\\text\s*\{\s*(?:for|where|with|if|when|and|or|such)\b)[A-Za-z\\|][^=,;]{0,80}=)"
)
COMMA = re.compile(r"(?<!\d),|,(?!\d{3}(?!\d))")
_SEMICOLON = re.compile(";")
_LIST_SEPARATOR = re.compile(
    rf"{COMMA.pattern}|;|\n\s*\n|(?<![A-Za-z\\])(?:and|or|maybe|perhaps|possibly|probably|either)(?![A-Za-z])|(?<=\d)or(?=[a-z]\s*=)"
    r"|(?<=[\d)}A-Za-z])\s*[\u548c\u6216\u4e0e]\s*(?=[-\d(\\A-Za-z])"
)
_OR_IN_TEXT = re.compile(
    r"\\(?:text\w*|mathrm|mbox)\s*\{[\s,]*(?:and|or|maybe|perhaps|possibly|either|\u548c|\u6216|\u4e0e)[\s,]*\}"
)
_OR_AFTER_WORDS = re.compile(r"(\\text\w*\s*\{[^{}]*[^\s{},])[\s,]+(?:and|or)\s*\}(?=\s*\d)")
_AFTER_UNIT = re.compile(
    r"(\A\d[\d.]*\s*(?:\\text\s*\{[^{}\d]*[A-Za-z]\.?\s*\}|[A-Za-z]+))\s+(?=\d[\d.]*\s*(?:\\text\s*\{[^{}\d]*\}|[A-Za-z]+)\Z)"
)
"""Two quantities without a comma: 5 ft 3 in."""
_COUNTED_TOGETHER = re.compile(r"-?\d[\d.,]*(?:\s+[A-Za-z]{3,})+\s+(?:and|or)(?:\s+[A-Za-z]{3,})+")
"""One number of several things: 12 boys and girls."""
_FILLER = re.compile(r"\\text\s*\{\s*\}|(?:even|either)\s*")
_VALUE = re.compile(r"[\dA-Za-z\\\u3400-\u9fff]")
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
