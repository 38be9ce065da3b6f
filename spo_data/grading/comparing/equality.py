r"""Whether two answers are equal: one rule for each pair of kinds.

    compare(r"\frac{1}{2}", "0.5")           # Equality(equal=True)
    compare("f(2) = 3", "f(2) = 4")           # Equality(equal=False)
    compare(r"\heartsuit", r"\spadesuit")     # Equality(equal=False, by_text=True)

Equality is not symmetric: the ground truth decides the form, as in math-verify. docs/grading.md prints the table of
rules.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from spo_data.grading.comparing.formulas import choose_sides, equal_formulas, has_value, is_false_chain, is_read
from spo_data.grading.comparing.items import UNORDERED, equal_collections, equal_to_all
from spo_data.grading.comparing.relations import equal_as_sets, equal_relations
from spo_data.grading.reading.golds import find_reason_against, read_alternatives
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
from spo_data.grading.reading.named_values import contradict, last_side
from spo_data.grading.reading.notation import canonical
from spo_data.grading.reading.numbers import Number, equal_in_base, equal_numbers, read_number
from spo_data.grading.reading.read import read_answer
from spo_data.grading.reading.words import fold


class UnparseableGoldError(ValueError):
    """The ground truth is no answer, so no answer can be graded."""


@dataclass(frozen=True, slots=True)
class Equality:
    """Whether two answers are equal, and whether only their texts could be compared."""

    equal: bool
    by_text: bool = False


def compare(ground_truth: str, answer: str) -> Equality:
    """Compare an answer with a ground truth.

    Raises UnparseableGoldError if the ground truth is no answer or has no value (1/0), and MemoryError if parsing ran
    out of memory or stack.
    """
    gold_number, answer_number = read_number(ground_truth), read_number(answer)
    if gold_number is not None and answer_number is not None:
        return Equality(equal_numbers(gold_number, answer_number))
    golds = _read_gold(ground_truth)
    if " ".join(ground_truth.split()) == " ".join(answer.split()):
        return Equality(equal=True)
    answers = [read_answer(text) for text in read_alternatives(answer)]
    found = answers[0] if len(answers) == 1 else Answer(Collection(Form.LIST, tuple(answers)))
    if any(equal_answers(gold, found) for gold in golds):
        return Equality(equal=True)
    return Equality(equal=False, by_text=not all(map(is_read, (*golds, found))))


@lru_cache(maxsize=1024)
def _read_gold(ground_truth: str) -> tuple[Answer, ...]:
    """The answers that are right: one, or the alternatives of a list and the list itself."""
    reason = find_reason_against(ground_truth)
    if reason is not None:
        raise UnparseableGoldError(f"{reason}: {ground_truth[:200]!r}")
    golds = tuple(read_answer(text) for text in read_alternatives(ground_truth))
    if not all(map(has_value, golds)):
        raise UnparseableGoldError(f"it has no value: {ground_truth[:200]!r}")
    return (*golds, Answer(Collection(Form.LIST, golds))) if len(golds) > 1 else golds


def equal_answers(gold: Answer, answer: Answer) -> bool:
    """Whether an answer equals a ground truth, both read."""
    answer = _rename_parameter(gold, answer)
    if contradict(gold.names, answer.names) or is_false_chain(answer):
        return False
    for either, other in ((answer, gold), (gold, answer)):
        if isinstance(either.value, Collection) and either.value.form is Form.EITHER:
            sides = choose_sides(either.value.items)
            pairs = ((other, side) if either is answer else (side, other) for side in sides)
            return any(equal_answers(*pair) for pair in pairs)
    if (
        isinstance(gold.value, Relation) != isinstance(answer.value, Relation)
        and "=" in gold.text
        and "=" in answer.text
    ):
        pair = (Answer(Relation(one.text), text=one.text) for one in (gold, answer))
        if equal_relations(*pair):
            return True
    fitting = (rule for rule in RULES if _is_kind(gold, rule.gold) and _is_kind(answer, rule.answer))
    return next(fitting).holds(gold, answer)


def _rename_parameter(gold: Answer, answer: Answer) -> Answer:
    r"""The answer with the ground truth's letter for its parameter: k in `k\pi, k \in \mathbb{Z}`."""
    ours, theirs = (_PARAMETER.search(one.remark) for one in (gold, answer))
    if ours is None or theirs is None or ours[1] == theirs[1] or not isinstance(answer.value, Expression):
        return answer
    renamed = re.sub(rf"(?<![\\A-Za-z]){theirs[1]}(?![A-Za-z])", ours[1], answer.value.latex)
    return replace(answer, value=Expression(renamed), text=renamed)


def make_rules_table() -> str:
    """The table of rules in Markdown, as docs/grading.md prints it."""
    rows = [f"| {rule.gold} | {rule.answer} | {rule.says} |" for rule in RULES]
    return "\n".join(["| ground truth | answer | equal if |", "|---|---|---|", *rows])


def _is_kind(answer: Answer, kinds: str) -> bool:
    names = kinds.split(" or ")
    if _is_interval(answer) and "interval" in names:
        return True
    return any(isinstance(answer.value, _KINDS[name]) for name in names if name != "interval")


def _is_interval(answer: Answer) -> bool:
    """Whether it can be an interval: `(1, 2)` can, though it is read as a pair."""
    value = answer.value
    return isinstance(value, Collection) and value.form in (Form.INTERVAL, Form.TUPLE) and len(value.items) == 2


def _equal_values(gold: Answer, answer: Answer) -> bool:
    assert isinstance(gold.value, Number)
    assert isinstance(answer.value, Number)
    return equal_numbers(gold.value, answer.value)


def _equal_numerals(gold: Answer, answer: Answer) -> bool:
    texts = [
        one.value.text if isinstance(one.value, Numeral) else canonical(one.text).replace(",", "")
        for one in (gold, answer)
    ]
    return equal_in_base(*texts) is True


def _without_unit(gold: Answer, answer: Answer) -> bool:
    pair = _drop_unit(gold), _drop_unit(answer)
    return _equal_formulas(gold, answer) if pair == (gold, answer) else equal_answers(*pair)


def _drop_unit(answer: Answer) -> Answer:
    value = answer.value
    return replace(answer, value=value.value) if isinstance(value, Quantity) and value.unit != "%" else answer


def _equal_congruences(gold: Answer, answer: Answer) -> bool:
    first, second = gold.value, answer.value
    if not isinstance(first, Congruence):
        assert isinstance(second, Congruence)
        return equal_answers(gold, second.residue)
    if not isinstance(second, Congruence):
        return equal_answers(first.residue, answer)
    if first.modulus != second.modulus:
        return False
    residues = first.residue.value, second.residue.value
    if all(isinstance(residue, Number) and residue.value.denominator == 1 for residue in residues):
        one, other = (residue.value for residue in residues)  # type: ignore[union-attr]
        return first.modulus.isdecimal() and (one - other) % max(1, int(first.modulus)) == 0  # type: ignore[operator]
    return equal_answers(first.residue, second.residue)


def _equal_last_side(gold: Answer, answer: Answer) -> bool:
    """Of an equation that is no name, the last side is the answer unless a single unknown is left unsolved."""
    side = last_side(answer.text)
    return side is not None and equal_answers(gold, read_answer(side))


def _equal_set_or_side(gold: Answer, answer: Answer) -> bool:
    return equal_as_sets(gold, answer) or _equal_last_side(gold, answer)


def _equal_items(gold: Answer, answer: Answer) -> bool:
    return equal_collections(gold, answer, equal_answers)


def _equal_single(gold: Answer, answer: Answer) -> bool:
    if isinstance(gold.value, Collection) and isinstance(answer.value, Expression) and gold.value.form in UNORDERED:
        as_set = f"\\{{{', '.join(item.text for item in gold.value.items)}\\}}"
        if equal_as_sets(replace(gold, value=Expression(as_set)), answer):
            return True
    for ratio, other in ((gold, answer), (answer, gold)):
        if isinstance(ratio.value, Collection) and ratio.value.form is Form.RATIO:
            quotient = replace(ratio, value=Expression(ratio.value.latex))
            return equal_formulas(*((quotient, other) if ratio is gold else (other, quotient)))
    return equal_to_all(gold, answer, equal_answers) or _equal_texts(gold, answer)


def _equal_formulas(gold: Answer, answer: Answer) -> bool:
    return equal_formulas(gold, answer) or (not (is_read(gold) and is_read(answer)) and _equal_texts(gold, answer))


def _equal_texts(gold: Answer, answer: Answer) -> bool:
    texts = [one.value.latex if isinstance(one.value, Collection) else one.text for one in (gold, answer)]
    if isinstance(gold.value, Text) and gold.value.is_words and gold.value.folded == fold(texts[1]):
        return True
    return bool(texts[0]) and canonical(texts[0]) == canonical(texts[1])


_PARAMETER = re.compile(r"(?<![\\A-Za-z])([A-Za-z])\s*\\in\s*\\mathbb")


@dataclass(frozen=True, slots=True)
class Rule:
    """How an answer of one kind is compared with a ground truth of another."""

    gold: str
    answer: str
    says: str
    """When the two are equal, for the documentation."""
    holds: Callable[[Answer, Answer], bool]


_KINDS: dict[str, type | tuple[type, ...]] = {
    "number": Number,
    "numeral": Numeral,
    "quantity": Quantity,
    "formula": Expression,
    "relation": Relation,
    "collection": Collection,
    "congruence": Congruence,
    "text": Text,
    "anything": object,
}
RULES = (
    Rule("number", "number", "their values agree: exact fractions, decimals as rounded", _equal_values),
    Rule("numeral", "number or numeral", "the digits are equal, and the bases if both name one", _equal_numerals),
    Rule("number", "numeral", "the digits in their base have the number's value", _equal_numerals),
    Rule("text", "anything", "the text is the same", _equal_texts),
    Rule("anything", "text", "the text is the same", _equal_texts),
    Rule("collection", "collection", "their items are equal, as the ground truth's form asks", _equal_items),
    Rule("relation", "relation", "their sides are equal, or they are multiples of the same equation", equal_relations),
    Rule("relation", "interval or formula", "they describe the same set of numbers", equal_as_sets),
    Rule(
        "interval or formula", "relation", "they describe the same set, or its last side is equal", _equal_set_or_side
    ),
    Rule("relation", "anything", "the text is the same", _equal_texts),
    Rule("anything", "relation", "the last side is equal, unless one unknown is left unsolved", _equal_last_side),
    Rule("interval", "formula", "they describe the same set of numbers", equal_as_sets),
    Rule("formula", "interval", "they describe the same set of numbers", equal_as_sets),
    Rule("collection", "anything", "every item is equal to it, or the ratio has its value", _equal_single),
    Rule("anything", "collection", "it is equal to every item, or has the ratio's value", _equal_single),
    Rule("congruence", "anything", "the residues are equal, and the moduli if both have one", _equal_congruences),
    Rule("anything", "congruence", "it is equal to the residue", _equal_congruences),
    Rule("number or formula", "number or formula", "math-verify says so, and their values agree", _equal_formulas),
    Rule("numeral or formula", "numeral or formula", "the text is the same", _equal_texts),
    Rule("quantity", "anything", "the values are equal; only a percent sign changes one", _without_unit),
    Rule("anything", "quantity", "the values are equal; only a percent sign changes one", _without_unit),
)
"""The first rule whose kinds fit decides."""
