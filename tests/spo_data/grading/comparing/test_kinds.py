"""Every kind of answer: equal pairs are equal, and pairs that only look equal are not."""

import pytest

from spo_data.grading.comparing.equality import compare
from support.answer_kinds import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_kind_of_answer_is_compared_by_its_meaning(kind: Kind) -> None:
    missed = [pair for pair in kind.right if not compare(*pair).equal]
    taken = [pair for pair in kind.wrong if compare(*pair).equal]
    assert (missed, taken) == ([], [])


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_ground_truth_equals_itself_and_is_read(kind: Kind) -> None:
    for gold, _ in (*kind.right, *kind.wrong):
        assert compare(gold, f" {gold} ").equal, gold
