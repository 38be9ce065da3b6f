r"""Comparing equations, inequalities and the sets that they describe.

equal_relations(read_answer("2x + 2y = 2"), read_answer("x + y = 1"))      # True
equal_as_sets(read_answer("1 < x < 2"), read_answer("(1, 2)"))             # True
"""

from typing import Any

from spo_data.grading.comparing.expressions import is_range
from spo_data.grading.comparing.parser import parse, verify
from spo_data.grading.comparing.points import agree_everywhere
from spo_data.grading.reading.kinds import Answer, Collection, Expression, Relation
from spo_data.grading.reading.notation import canonical


def equal_relations(gold: Answer, answer: Answer) -> bool:
    """Whether two relations say the same: equal sides, or equations that are multiples of each other."""
    golds, answers = _parse(gold), _parse(answer)
    if not golds or not answers:
        return canonical(gold.text) == canonical(answer.text)
    if verify(golds, answers):
        return True
    return len(golds) == len(answers) == 1 and _are_multiples(golds[0], answers[0])


def equal_as_sets(gold: Answer, answer: Answer) -> bool:
    """Whether a relation, an interval or a set in notation describes the same set of numbers."""
    from sympy import Set

    golds, answers = _parse(gold), _parse(answer)
    for side, parsed in ((gold, golds), (answer, answers)):
        if isinstance(side.value, Expression) and not any(isinstance(value, Set) for value in parsed):
            return False
        if isinstance(side.value, Relation) and not any(map(is_range, parsed)):
            return False
    return verify(golds, answers)


def _parse(answer: Answer) -> tuple[Any, ...]:
    value = answer.value
    return parse(value.latex) if isinstance(value, Relation | Expression | Collection) else ()


def _are_multiples(gold: Any, answer: Any) -> bool:
    from sympy import Eq, Integer

    if not (isinstance(gold, Eq) and isinstance(answer, Eq)) or gold.free_symbols != answer.free_symbols:
        return False
    try:
        first, second = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    except TypeError:
        return False  # sets and tuples have no difference
    point = {symbol: Integer(3 + 2 * k) for k, symbol in enumerate(sorted(gold.free_symbols, key=str))}
    over, under = first.xreplace(point), second.xreplace(point)
    if not (over.is_number and under.is_number) or over.is_zero is not False or under.is_zero is not False:
        return False
    return agree_everywhere(first, second * (over / under))
