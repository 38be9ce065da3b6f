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
from spo_data.grading.reading.parts import COMMA, expand_signs, flatten, name_list, separate_equations, split_parts
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


@lru_cache(maxsize=8192)
def read_answer(text: str) -> Answer:
    """The answer that the text as a whole gives."""
    number = read_number(text)
    if number is not None:
        return Answer(number, text=text)
    return _read(normalise(_BLANK_LINE.sub(" , ", separate_equations(text.strip()))), 0)


def describe_kind(ground_truth: str) -> str:
    """The kind of a ground truth in a word: "number", "formula", "set", "text", ..."""
    value = read_answer(ground_truth).value
    return str(value.form) if isinstance(value, Collection) else _KIND_WORDS[type(value)]


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
    parts = split_parts(text)
    if len(parts) > 1:
        items = _read_parts(parts, depth)
        if all(isinstance(item.value, Text) for item in items):
            return Answer(Text(fold(text)), text=text)  # the order of words counts: Monday, June 3
        if all(isinstance(item.value, Relation) for item in items) and _AND.search(text):
            return Answer(Relation(text), text=text)  # both hold, which is no list of alternatives
        return name_list(list(items), text)
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
        items = _read_parts([part for alternative in parts for part in split_parts(alternative)], depth)
        items = tuple(part for item in items for part in flatten(item))
        return Answer(Collection(Form.SET, items, latex=text), text=text)
    if len(parts) < 2:
        return None
    if _ELLIPSIS.search(inside):
        return None
    variants = expand_signs(text)
    if len(variants) > 1:
        return name_list(list(_read_parts(variants, depth)), text)
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
    parts = split_parts(text)
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
    variants = expand_signs(text)
    if len(variants) > 1:
        return name_list(list(_read_parts(variants, depth)), text)
    return _read_leaf(text, depth)


def _give_names(names: tuple[str, ...], answer: Answer, text: str) -> Answer:
    value = answer.value
    inner = tuple_names(names[-1]) if names else ()
    if inner and isinstance(value, Collection) and value.form is Form.TUPLE and len(inner) == len(value.items):
        items = tuple(replace(item, names=(name,)) for name, item in zip(inner, value.items, strict=True))
        return Answer(replace(value, items=items), text=text)
    return replace(answer, names=(*names, *answer.names), text=text)


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


_BLANK_LINE = re.compile(r"\n\s*\n")
_NUMERAL = re.compile(r"\(?\s*[0-9A-F]{1,300}\s*\)?\s*_\s*\{?\s*\d{1,2}\s*\}?")
_CONGRUENCE = re.compile(
    r"(?:(?P<name>[^=<>]*?)\\equiv)?(?P<residue>[^=<>]+?)\(?\\pmod\s*\{?(?P<modulus>[^{}()]+)\}?\)?\s*"
)
_EVERY_COMMA = re.compile("[,;]")
_SPACED_COMMA = re.compile(r",\s")
_SEPARATOR = re.compile(rf"{COMMA.pattern}|;")
_AND = re.compile(r"(?<![A-Za-z\\])and(?![A-Za-z])|\\land(?![A-Za-z])")
_LABEL = re.compile(r"\s*(?:\\text\s*\{\s*)?([A-Za-z][A-Za-z ]{1,30}(?=\s*\}?\s*:))")
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
_REPEATING = re.compile(r"([+-]?\d*\.\d*?)(\d{1,6}?)\2+(?:\\[lcd]?dots|\.\.\.|\u2026)")
