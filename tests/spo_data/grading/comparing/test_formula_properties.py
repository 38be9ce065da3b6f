"""Formulas compared by evaluation: another notation of a formula equals it, and a changed formula does not."""

import random
from typing import Any

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spo_data.grading.comparing.equality import compare

pytestmark = pytest.mark.slow

SYMBOLS = tuple(sympy.Symbol(name, positive=True) for name in "xabn")
POINTS = ((1.37, 0.73, 2.19, 3), (0.37, 1.73, 0.419, 5))
REWRITES = (sympy.expand, sympy.factor, sympy.together, sympy.simplify)


def _make_formula(chance: random.Random, depth: int) -> Any:
    if depth == 0:
        number = sympy.Rational(chance.randint(1, 9), chance.randint(1, 4))
        return chance.choice([*SYMBOLS, *SYMBOLS, number, sympy.pi])
    left, right = _make_formula(chance, depth - 1), _make_formula(chance, depth - 1)
    makers = (
        lambda: left + right,
        lambda: left * right,
        lambda: left / right,
        lambda: left - right,
        lambda: sympy.sqrt(left),
        lambda: left ** chance.choice((2, 3, -1)),
        lambda: sympy.sin(left),
    )
    return chance.choice(makers)()


def _change_one(chance: random.Random, formula: Any) -> Any:
    """The formula with another number or symbol in one place."""
    places = [part for part in sympy.preorder_traversal(formula) if part.is_Rational or part.is_Symbol]
    assume(places)
    place = chance.choice(places)
    if place.is_Symbol:
        return formula.subs(place, chance.choice([symbol for symbol in SYMBOLS if symbol != place]))
    return formula.xreplace({place: place + chance.choice((1, -1, 2))})


def _evaluate(formula: Any) -> tuple[complex, ...]:
    """Two values, computed with Python's own complex numbers."""
    try:
        values = tuple(complex(sympy.lambdify(SYMBOLS, formula, "cmath")(*map(complex, point))) for point in POINTS)
    except (ArithmeticError, ValueError, TypeError, NameError):
        values = ()
    assume(values and all(abs(value) < 1e6 for value in values))
    return values


def _are_close(first: tuple[complex, ...], second: tuple[complex, ...]) -> bool:
    return all(abs(a - b) <= 1e-8 * max(1.0, abs(a)) for a, b in zip(first, second, strict=True))


@settings(max_examples=60)
@given(chance=st.randoms(use_true_random=False), depth=st.integers(1, 3))
def test_a_changed_formula_is_never_right(chance: random.Random, depth: int) -> None:
    formula = _make_formula(chance, depth)
    assume(formula.free_symbols)
    changed = _change_one(chance, formula)
    assume(not _are_close(_evaluate(formula), _evaluate(changed)))
    assert not compare(sympy.latex(formula), sympy.latex(changed)).equal


@settings(max_examples=40)
@given(chance=st.randoms(use_true_random=False), depth=st.integers(1, 3), rewrite=st.sampled_from(REWRITES))
def test_a_formula_is_itself_however_it_is_rewritten(chance: random.Random, depth: int, rewrite: Any) -> None:
    formula = _make_formula(chance, depth)
    assume(formula.free_symbols)
    rewritten = rewrite(formula)
    assume(rewritten.count_ops() + formula.count_ops() < 150)
    assume(_are_close(_evaluate(formula), _evaluate(rewritten)))
    assert compare(sympy.latex(formula), sympy.latex(rewritten)).equal
