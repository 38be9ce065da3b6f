"""Every kind of answer: equal pairs are equal, and pairs that only look equal are not."""

from itertools import product

import pytest

from spo_data.grading.comparing.equality import compare
from support.answer_kinds import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_kind_of_answer_is_compared_by_its_meaning(kind: Kind) -> None:
    missed = [pair for pair in kind.right if not compare(*pair).equal]
    taken = [pair for pair in kind.wrong if compare(*pair).equal]
    assert (missed, taken) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_ground_truth_equals_itself_and_is_read(kind: Kind) -> None:
    for gold, _ in (*kind.right, *kind.wrong):
        assert compare(gold, f" {gold} ").equal, gold


ONE_OF_EACH = (
    *("42", "50\\%", "101_2", "5 cm", "x^2+1", "2\\sqrt{2}\\%", "\\mathbb{R}", "x^2+y^2=1", "x>2", "3 \\pmod 7", "B"),
    *("no solution", "\\heartsuit", "1, 2", "(1, 2)", "\\{1, 2\\}", "[1, 2)", "2 : 7", "10:30", "x = 11"),
    *("\\begin{pmatrix}5\\\\6\\end{pmatrix}", "\\frac{7}{3} \\approx 2.33", "(x, y) = (3, 4)", '["8 cm", "6"]'),
)


def test_any_two_kinds_are_compared_and_only_the_same_answer_is_equal() -> None:
    """A numeral and a formula had no rule, and the grader failed on them."""
    equal = {(gold, answer) for gold, answer in product(ONE_OF_EACH, repeat=2) if compare(gold, answer).equal}
    others = equal - {(answer, answer) for answer in ONE_OF_EACH}
    assert {(answer, answer) for answer in ONE_OF_EACH} <= equal
    assert others == {
        ("1, 2", "(1, 2)"),
        ("1, 2", "\\{1, 2\\}"),
        ("\\{1, 2\\}", "1, 2"),
        ("(1, 2)", "1, 2"),
        ("(1, 2)", "\\{1, 2\\}"),
    }
