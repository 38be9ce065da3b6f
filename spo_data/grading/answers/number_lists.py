r"""Comparing pairs, tuples, intervals and sets of plain numbers without sympy, which needs 20 ms to parse one.

equal_lists("(1, 2)", r"\left(1, 2.0\right)")     # True: in order
equal_lists("1, 2", r"\{2, 1\}")                  # True: sets
equal_lists("(0, 1]", "(0, 1)")                   # False: the ends of an interval count
equal_lists("(1, x)", "(1, 2)")                   # None: not plain numbers, left to math-verify
"""

import re

from spo_data.grading.answers.dressing import undress
from spo_data.grading.answers.numbers import Number, equal_numbers, read_number

Numbers = tuple[str, list[Number]]
"""The brackets, such as "(]", "{}" or "", and the numbers between them."""


def equal_lists(ground_truth: str, answer: str) -> bool | None:
    """Whether two lists of numbers, or a list and a number, are equal; None if a side is neither.

    The order counts if the ground truth has parentheses. Square brackets must be the same on both sides.
    """
    gold, found = _read(ground_truth), _read(answer)
    if gold is None or found is None or len(gold[1]) == len(found[1]) == 1:
        return None
    (gold_brackets, golds), (brackets, answers) = gold, found
    if len(golds) == 1 or len(answers) == 1:
        return gold_brackets in _SETS and brackets in _SETS and _agree(_sort_distinct(golds), _sort_distinct(answers))
    if "[" in gold_brackets + brackets or "]" in gold_brackets + brackets:
        if len(golds) != 2 or len(answers) != 2:
            return None
        return gold_brackets == brackets and _agree(golds, answers)
    if gold_brackets in _SETS:
        return _agree(_sort_distinct(golds), _sort_distinct(answers))
    return _agree(golds, answers) and (brackets not in _SETS or len(_sort_distinct(answers)) == len(answers))


_SETS = ("", "{}")
_BRACKETED = re.compile(r"(?:\\left\s*)?(\\\{|[(\[])([^()\[\]{}]*?)(?:\\right\s*)?(\\\}|[)\]])")
_AMBIGUOUS = re.compile(r"(?<!\d)\d{1,3},\d{3}(?!\d)")


def _read(text: str) -> Numbers | None:
    text = undress(text)
    number = read_number(text)
    if number is not None:
        return None if number.percent or _AMBIGUOUS.search(text) else ("", [number])
    match = _BRACKETED.fullmatch(text)
    opening, inside, closing = match.groups() if match else ("", text, "")
    if "," not in inside or _AMBIGUOUS.search(inside):
        return None
    numbers = [read_number(part) for part in inside.split(",")]
    known = [number for number in numbers if number is not None and not number.percent]
    brackets = (opening + closing).replace("\\", "")
    if len(known) < len(numbers) or ("{" in brackets) != ("}" in brackets):
        return None
    return brackets, known


def _agree(golds: list[Number], answers: list[Number]) -> bool:
    return len(golds) == len(answers) and all(map(equal_numbers, golds, answers))


def _sort_distinct(numbers: list[Number]) -> list[Number]:
    """The distinct numbers, sorted by value."""
    by_value = {number.value: number for number in numbers}
    return [by_value[value] for value in sorted(by_value)]
