r"""Reading a text as an answer.

    read_answer(r"5 \text{ cm}")           # Answer(Quantity(Number(5), "cm"))
    read_answer("x = 1 or x = 2")           # Answer(Collection(LIST, (1, 2)), names=("x",))
    read_answer("no solution")              # Answer(Text("no solution"))

Whatever is read wrongly here is graded wrongly, so each step takes only what it is sure of; the rest is an
`Expression`, which math-verify reads, or a `Text`.
"""

import re
from dataclasses import replace
from functools import lru_cache
from itertools import product

from spo_data.grading.reading.kinds import (
    Answer,
    Collection,
    Congruence,
    Expression,
    Form,
    Numeral,
    Quantity,
    Relation,
    Text,
)
from spo_data.grading.reading.named_values import split_names, tuple_names
from spo_data.grading.reading.notation import canonical, normalise
from spo_data.grading.reading.numbers import Number, read_number
from spo_data.grading.reading.remarks import split_lead, split_remark
from spo_data.grading.reading.structure import has_top, outer_brackets, split_top
from spo_data.grading.reading.units import UnreadableError, split_unit
from spo_data.grading.reading.words import fold, is_time, is_wording, remaining_words

_KIND_WORDS = {
    Number: "number",
    Numeral: "numeral",
    Quantity: "quantity",
    Expression: "formula",
    Relation: "relation",
    Congruence: "congruence",
    Text: "text",
}
DEPTH = 20
"""Deeper brackets are left to math-verify."""
LONG = 200
"""A longer text is no quantity in words."""
SIGNS = 4
r"""A text with more `\pm` is not expanded."""


@lru_cache(maxsize=8192)
def read_answer(text: str) -> Answer:
    """The answer that the text as a whole gives."""
    number = read_number(text)
    if number is not None:
        return Answer(number, text=text)
    return _read(normalise(_BLANK_LINE.sub(" , ", _separate(text.strip()))), 0)


def describe_kind(ground_truth: str) -> str:
    """The kind of a ground truth in a word: "number", "formula", "set", "text", ..."""
    value = read_answer(ground_truth).value
    return str(value.form) if isinstance(value, Collection) else _KIND_WORDS[type(value)]


def _separate(text: str) -> str:
    """The text with a comma between equations that only wide space, a new line or "and" as a sign tells apart."""
    first, equals, rest = text.partition("=")
    return first + equals + _BETWEEN_EQUATIONS.sub(" , ", rest) if equals and "\\begin" not in text else text


def is_text(ground_truth: str) -> bool:
    """Whether a ground truth is words rather than a number or formula."""
    value = read_answer(ground_truth).value
    return isinstance(value, Text) and value.is_words


def _read(text: str, depth: int) -> Answer:
    number = read_number(text)
    if number is not None:
        return Answer(number, text=text)
    if _NUMERAL.fullmatch(text):
        return Answer(Numeral(canonical(text).replace("(", "").replace(")", "")), text=text)
    if depth > DEPTH:
        return Answer(Expression(text), text=text)
    if not text or is_time(text) or is_wording(text):
        return Answer(Text(fold(text)), text=text)
    labelled = _read_labelled(text, depth)
    if labelled is not None:
        return labelled
    lead = split_lead(text)
    if lead != text:
        return _read(normalise(lead), depth + 1)
    value, remark = split_remark(text)
    if remark:
        return replace(_read(normalise(value), depth + 1), remark=remark)
    return _read_congruence(text, depth) or _read_several(text, depth) or _read_one(text, depth)


def _read_congruence(text: str, depth: int) -> Answer | None:
    match = _CONGRUENCE.fullmatch(text)
    if match is None:
        return None
    names = (canonical(match["name"]),) if match["name"] else ()
    return Answer(Congruence(_read(match["residue"].strip(), depth + 1), canonical(match["modulus"])), names, text=text)


def _read_several(text: str, depth: int) -> Answer | None:
    """Parts between commas, "and" or "or", in brackets or not."""
    brackets = outer_brackets(text)
    if brackets is not None:
        return _read_brackets(text, *brackets, depth)
    parts = _split_parts(text)
    if len(parts) > 1:
        items = _read_parts(parts, depth)
        if all(isinstance(item.value, Text) for item in items):
            return Answer(Text(fold(text)), text=text)  # the order of words counts: Monday, June 3
        if all(isinstance(item.value, Relation) for item in items) and _AND.search(text):
            return Answer(Relation(text), text=text)  # both hold, which is no list of alternatives
        return _name_list(list(items), text)
    if parts != [text]:
        return _read(normalise(parts[0]), depth + 1)
    column = _COLUMN.fullmatch(text)
    if column is not None:
        items = _read_parts([row for row in _ROW.split(column["rows"]) if row.strip()], depth)
        if len(items) > 1:
            return Answer(Collection(Form.COLUMN, items, latex=text), text=text)
    return None


def _read_brackets(text: str, opening: str, inside: str, closing: str, depth: int) -> Answer | None:
    parts = split_top(inside, _SEPARATOR if _SPACED_COMMA.search(inside) else _EVERY_COMMA)
    if len(parts) == 1 and opening in ("(", "\\langle") and closing in (")", "\\rangle") and "|" not in inside:
        return None if has_top(inside, _ADDS) else _read(normalise(inside), depth + 1)
    if opening == "\\{":
        condition = _CONDITION.split(inside, maxsplit=1)
        if len(condition) == 2:
            return _read_condition(condition[0], condition[1], text, depth)
        if _ELLIPSIS.search(inside):
            return None
        if not inside.strip():
            return Answer(Expression(r"\emptyset"), text=text)
        if inside.strip() == r"\emptyset":
            return Answer(Text(canonical(text), is_words=False), text=text)
        items = _read_parts([part for alternative in parts for part in _split_parts(alternative)], depth)
        items = tuple(part for item in items for part in _flatten(item))
        return Answer(Collection(Form.SET, items, latex=text), text=text)
    if len(parts) < 2:
        return None
    if _ELLIPSIS.search(inside):
        return None
    if 0 < len(_PLUS_MINUS.findall(inside)) <= SIGNS:
        signs = _PLUS_MINUS.findall(text)
        return _name_list(list(_read_parts(_expand_signs(text, signs), depth)), text)
    items = _read_parts(parts, depth)
    if "[" in (opening, closing) or "]" in (opening, closing):
        if len(items) != 2:
            return None if opening + closing != "[]" else Answer(Collection(Form.LIST, items, latex=text), text=text)
        return Answer(Collection(Form.INTERVAL, items, opening + closing, text), text=text)
    return Answer(Collection(Form.TUPLE, items, latex=text), text=text)


def _read_parts(parts: list[str], depth: int) -> tuple[Answer, ...]:
    return tuple(_read(normalise(part), depth + 1) for part in parts)


def _read_labelled(text: str, depth: int) -> Answer | None:
    """Parts that are each named by the words before a colon: Alice: 5, Bob: 3."""
    if _LABEL.match(text) is None:
        return None
    parts = _split_parts(text)
    labels = [match[1].strip() for match in map(_LABEL.match, parts) if match is not None]
    if len(parts) < 2 or len(set(labels)) < len(parts):
        return None
    named = (replace(item, names=(label,)) for item, label in zip(_read_parts(parts, depth), labels, strict=True))
    return Answer(Collection(Form.LIST, tuple(named), latex=text), text=text)


def _read_condition(variable: str, condition: str, text: str, depth: int) -> Answer:
    """A set by its condition: the condition, named by nothing."""
    name = _MEMBER.match(variable.strip())
    if name is None or _SEPARATOR.search(condition):
        return Answer(Text(canonical(text), is_words=False), text=text)
    return _read(normalise(condition), depth + 1)


def _split_parts(text: str) -> list[str]:
    """The parts of an answer with several; one if the commas belong to numbers, functions or words."""
    text = _OR_IN_TEXT.sub(" , ", _OR_AFTER_WORDS.sub(r"\1} , ", _AFTER_UNIT.sub(r"\1, ", text)))
    if re.fullmatch(r"[\d,.\s-]+", text) and _THOUSANDS.fullmatch(text.strip()):
        return [text]
    groups = split_top(text, _SEMICOLON)
    if len(groups) > 1 and has_top(text, _COMMA):
        return [f"({group.strip()})" if has_top(group, _COMMA) else group.strip() for group in groups]
    if len(text) < LONG and _COUNTED_TOGETHER.fullmatch(text):
        return [text]
    parts = [part.strip() for part in split_top(text, _LIST_SEPARATOR)]
    parts = [part for part in parts if part and not _FILLER.fullmatch(part)]
    return parts if parts and all(map(_VALUE.search, parts)) else [text]


def _name_list(items: list[Answer], text: str) -> Answer:
    """A list of answers; a name that is said once before all of them, or repeated for each, is the list's."""
    items = _group_records(items)
    names = [item.names for item in items]
    if names[0] and (not any(names[1:]) or all(name == names[0] for name in names)):
        first = items[0]
        if not tuple_names(names[0][-1]):
            items = [replace(item, names=()) for item in items]
            merged = tuple(part for item in items for part in _flatten(item))
            return Answer(Collection(Form.LIST, merged, latex=text), names[0], text=text)
        items = [replace(first, names=()), *(replace(item, names=()) for item in items[1:])]
    return Answer(
        Collection(Form.LIST, tuple(part for item in items for part in _flatten(item)), latex=text), text=text
    )


def _group_records(items: list[Answer]) -> list[Answer]:
    """`x=1, y=2, x=2, y=1` as two pairs: a name that comes again begins another solution."""
    names = [item.names[-1] if item.names else "" for item in items]
    size = names.index(names[0], 1) if names.count(names[0]) > 1 else len(names)
    rows = [names[start : start + size] for start in range(0, len(names), size)]
    if size < 2 or len(rows) < 2 or not all(names) or any(row != rows[0] for row in rows) or len(set(rows[0])) < size:
        return items
    starts = range(0, len(items), size)
    return [Answer(Collection(Form.TUPLE, tuple(items[start : start + size]))) for start in starts]


def _flatten(item: Answer) -> tuple[Answer, ...]:
    """The items of a list within a list, such as the two of `\\pm 1`."""
    value = item.value
    if isinstance(value, Collection) and value.form is Form.LIST:
        return tuple(replace(one, names=item.names or one.names) for one in value.items)
    return (item,)


def _read_one(text: str, depth: int) -> Answer:
    if has_top(text, _APPROXIMATELY):
        items = _read_parts([side for side in split_top(text, _APPROXIMATELY) if side.strip()], depth)
        return items[0] if len(items) == 1 else Answer(Collection(Form.EITHER, items, latex=text), text=text)
    named = split_names(text)
    if named is not None:
        names, value = named
        return _give_names(names, _read(normalise(value), depth + 1), text)
    point = _POINT.fullmatch(text)
    if point is not None and not _VARIABLE.search(point["place"]):
        return replace(_read(point["place"], depth + 1), names=(canonical(point["name"]),), text=text)
    member = _MEMBERSHIP.fullmatch(text)
    if member is not None:
        elements = _read(normalise(member["set"]), depth + 1)
        if isinstance(elements.value, Collection) and elements.value.form is Form.SET:
            return replace(elements, names=(canonical(member["name"]),), text=text)
    if has_top(text, _RELATION):
        return Answer(Relation(text), text=text)
    ratio = split_top(text, _COLON)
    if len(ratio) > 1 and all(part.strip() for part in ratio):
        return Answer(Collection(Form.RATIO, _read_parts(ratio, depth), latex=text), text=text)
    signs = _PLUS_MINUS.findall(text)
    if 0 < len(signs) <= SIGNS:
        return _name_list(list(_read_parts(_expand_signs(text, signs), depth)), text)
    return _read_leaf(text, depth)


def _give_names(names: tuple[str, ...], answer: Answer, text: str) -> Answer:
    value = answer.value
    inner = tuple_names(names[-1]) if names else ()
    if inner and isinstance(value, Collection) and value.form is Form.TUPLE and len(inner) == len(value.items):
        items = tuple(replace(item, names=(name,)) for name, item in zip(inner, value.items, strict=True))
        return Answer(replace(value, items=items), text=text)
    return replace(answer, names=(*names, *answer.names), text=text)


def _expand_signs(text: str, signs: list[str]) -> list[str]:
    r"""The text with every combination of signs; `\mp` takes the other sign than all `\pm`."""
    pieces = _PLUS_MINUS.split(text)
    if "\\mp" in signs:
        choices = [["+" if sign == upper else "-" for sign in signs] for upper in ("\\pm", "\\mp")]
    else:
        choices = [list(chosen) for chosen in product("+-", repeat=len(signs))]
    return ["".join(map("".join, zip(pieces, [*chosen, ""], strict=True))) for chosen in choices]


def _read_leaf(text: str, depth: int) -> Answer:
    repeating = _REPEATING.fullmatch(text)
    if repeating is not None:
        return _read(f"{repeating[1]}\\overline{{{repeating[2]}}}", depth + 1)
    try:
        split = split_unit(text)
    except UnreadableError:
        return Answer(Text(fold(text)), text=text)
    if split is not None:
        value, factor, unit = split
        inner = _read(normalise(value), depth + 1)
        if factor and not isinstance(inner.value, Text):
            number = read_number(f"{value}{factor}".replace(r"\cdot 12", ""))
            inner = Answer(Expression(f"{value}{factor}") if number is None or factor.endswith("12") else number)
        if isinstance(inner.value, Text | Collection | Relation | Congruence | Quantity):
            return Answer(Text(fold(text)), text=text)
        return Answer(Quantity(inner.value, unit) if unit else inner.value, text=text)
    if text.endswith("%"):
        bare = _read(normalise(text.rstrip("\\%")), depth + 1).value
        if isinstance(bare, Expression):
            return Answer(Quantity(bare, "%"), text=text)
    if remaining_words(text):
        return Answer(Text(fold(text)), text=text)
    return Answer(Expression(text), text=text)


_BETWEEN_EQUATIONS = re.compile(
    r"(?<![\s,;{\\])\s*(?:\\q?quad(?![A-Za-z])|\\\\(?![A-Za-z])|\\(?:land|wedge)(?![A-Za-z]))\s*"
    r"(?=(?!\\text\s*\{\s*(?:for|where|with|if|when|and|or|such)\b)[A-Za-z\\|][^=,;]{0,80}=)"
)
_BLANK_LINE = re.compile(r"\n\s*\n")
_NUMERAL = re.compile(r"\(?\s*[0-9A-F]{1,300}\s*\)?\s*_\s*\{?\s*\d{1,2}\s*\}?")
_CONGRUENCE = re.compile(
    r"(?:(?P<name>[^=<>]*?)\\equiv)?(?P<residue>[^=<>]+?)\(?\\pmod\s*\{?(?P<modulus>[^{}()]+)\}?\)?\s*"
)
_COMMA = re.compile(r"(?<!\d),|,(?!\d{3}(?!\d))")
_EVERY_COMMA = re.compile("[,;]")
_SPACED_COMMA = re.compile(r",\s")
_SEMICOLON = re.compile(";")
_SEPARATOR = re.compile(rf"{_COMMA.pattern}|;")
_LIST_SEPARATOR = re.compile(
    rf"{_COMMA.pattern}|;|\n\s*\n|(?<![A-Za-z\\])(?:and|or|maybe|perhaps|possibly|probably|either)(?![A-Za-z])|(?<=\d)or(?=[a-z]\s*=)"
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
_AND = re.compile(r"(?<![A-Za-z\\])and(?![A-Za-z])|\\land(?![A-Za-z])")
_LABEL = re.compile(r"\s*(?:\\text\s*\{\s*)?([A-Za-z][A-Za-z ]{1,30}(?=\s*\}?\s*:))")
_VALUE = re.compile(r"[\dA-Za-z\\\u3400-\u9fff]")
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")
_ADDS = re.compile(r"\|")
_CONDITION = re.compile(r"\\mid(?![A-Za-z])|(?<!\|)\|(?!\|)(?=[^|]*$)|:")
_MEMBER = re.compile(r"[A-Za-z](?:\s*\\in\s*\\mathbb\s*\{?\s*R\s*\}?)?\Z")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|\.\.\.|\u2026")
_COLUMN = re.compile(
    r"\\begin\s*\{(?P<kind>[pbv]?matrix|array)\}(?:\s*\{c\})?(?P<rows>[^&]*)\\end\s*\{(?P=kind)\}", re.DOTALL
)
_ROW = re.compile(r"\\\\")
_POINT = re.compile(r"(?P<name>[AC-MO-TV-Z](?:'|_\d|_\{\d+\})?)\s*(?P<place>\([^()]*,[^()]*\))")
"""A point by its name and coordinates; N(0, 1), U(0, 1) and B(n, p) are distributions."""
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_MEMBERSHIP = re.compile(r"(?P<name>[^=<>]*?)\\in(?![A-Za-z])(?P<set>[^=<>]*)")
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in|notin|subset|subseteq)(?![A-Za-z])")
_APPROXIMATELY = re.compile(r"\\approx(?![A-Za-z])|\u2248")
_COLON = re.compile(r"(?<!:):(?!=)")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_REPEATING = re.compile(r"([+-]?\d*\.\d*?)(\d{1,6}?)\2+(?:\\[lcd]?dots|\.\.\.|\u2026)")
