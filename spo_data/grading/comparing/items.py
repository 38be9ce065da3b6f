"""Comparing collections: which of their items must be equal to which.

The form of the ground truth decides. A list or set is compared as a set, a tuple in its order; named values, and counts
of different things, by what they are of.
"""

from collections.abc import Callable, Sequence

from spo_data.grading.reading.kinds import Answer, Collection, Form, Quantity, Relation
from spo_data.grading.reading.named_values import is_word
from spo_data.grading.reading.numbers import Number

Equal = Callable[[Answer, Answer], bool]
UNORDERED = (Form.LIST, Form.SET)
_ACCEPTED = {
    Form.LIST: (Form.LIST, Form.SET, Form.TUPLE),
    Form.SET: (Form.LIST, Form.SET),
    Form.TUPLE: (Form.TUPLE, Form.LIST, Form.SET, Form.COLUMN),
    Form.INTERVAL: (Form.INTERVAL,),
    Form.COLUMN: (Form.COLUMN, Form.TUPLE),
    Form.RATIO: (Form.RATIO,),
}
"""The forms in which an answer may give each form of ground truth."""


def equal_collections(gold: Answer, answer: Answer, equal: Equal) -> bool:
    """Whether two collections are equal, their items compared by `equal`."""
    first, second = gold.value, answer.value
    assert isinstance(first, Collection)
    assert isinstance(second, Collection)
    if second.form not in _ACCEPTED[first.form] or first.brackets != second.brackets:
        return False
    golds, answers = first.items, second.items
    told_apart = _match_by(_names, golds, answers, equal) or _match_by(_units, golds, answers, equal)
    if told_apart is not None:
        return told_apart == "equal"
    if first.form in UNORDERED:
        return _covers(golds, answers, equal) and _covers(answers, golds, lambda one, other: equal(other, one))
    if len(golds) != len(answers):
        return False
    if first.form is Form.RATIO and _are_proportional(golds, answers):
        return True
    names = _names(answers)
    if names is not None and _names(golds) is None and _have_an_order(names):
        answers = tuple(sorted(answers, key=lambda item: item.names[-1]))
    return all(map(equal, golds, answers))


def equal_to_all(gold: Answer, answer: Answer, equal: Equal) -> bool:
    """Whether a single value equals a list or set of it alone."""
    if isinstance(gold.value, Collection):
        return gold.value.form in UNORDERED and all(equal(item, answer) for item in gold.value.items)
    assert isinstance(answer.value, Collection)
    return answer.value.form in UNORDERED and all(equal(gold, item) for item in answer.value.items)


def _match_by(
    labels: Callable[[Sequence[Answer]], list[str] | None],
    golds: Sequence[Answer],
    answers: Sequence[Answer],
    equal: Equal,
) -> str | None:
    """ "equal" or "unequal" if labels tell the items of the ground truth apart, else None."""
    ours, theirs = labels(golds), labels(answers)
    if ours is None:
        return None
    if theirs is not None and set(ours) == set(theirs):
        items = dict(zip(theirs, answers, strict=True))
        pairs = [(gold, items[label]) for label, gold in zip(ours, golds, strict=True)]
    elif any(isinstance(answer.value, Relation) for answer in answers):
        return "unequal"  # x+y=1 and x-y=2 are no values
    elif len(golds) == len(answers) and (theirs is None or any(map(is_word, (*ours, *theirs)))):
        pairs = list(zip(golds, answers, strict=True))  # without labels, the values are in the order of the labels
    else:
        return "unequal"
    return "equal" if all(equal(_unlabelled(gold), _unlabelled(answer)) for gold, answer in pairs) else "unequal"


def _names(items: Sequence[Answer]) -> list[str] | None:
    """The name of each item, if every item has one and all differ."""
    names = [item.names[-1] for item in items if item.names]
    return names if len(set(names)) == len(items) > 1 else None


def _have_an_order(names: Sequence[str]) -> bool:
    """Whether names have an order of their own, as x and y or a_1 and a_2 have: k and b are in the order written."""
    if len({name[0] for name in names}) == 1:
        return True
    letters = sorted(map(ord, names)) if all(len(name) == 1 for name in names) else [0]
    return letters[-1] - letters[0] == len(names) - 1


def _units(items: Sequence[Answer]) -> list[str] | None:
    """The unit of each item, if every item has one and all differ: 12 boys and 15 girls."""
    units = [item.value.unit for item in items if isinstance(item.value, Quantity) and item.value.unit]
    return units if len(set(units)) == len(items) > 1 else None


def _unlabelled(item: Answer) -> Answer:
    return Answer(item.value, (), item.remark, item.text)


def _are_proportional(golds: Sequence[Answer], answers: Sequence[Answer]) -> bool:
    """Whether two ratios of numbers are multiples of each other."""
    ours = [item.value.value for item in golds if isinstance(item.value, Number)]
    theirs = [item.value.value for item in answers if isinstance(item.value, Number)]
    if len(ours) < len(golds) or len(theirs) < len(answers) or not (any(ours) and any(theirs)):
        return False
    return all(a * sum(theirs) == b * sum(ours) for a, b in zip(ours, theirs, strict=True)) and sum(theirs) != 0


def _covers(items: Sequence[Answer], others: Sequence[Answer], equal: Equal) -> bool:
    """Whether each item equals one of the others."""
    return all(any(equal(item, other) for other in others) for item in items)
