"""Which ground truths of an existing run need no second check."""

from pathlib import Path

from spo_data.prompts.identity import Message, Prompt
from spo_data.run.existing import read_run
from spo_pipelines.resume import find_checked_golds
from support.records import GRADER

DRAWN = [(Prompt((Message("user", "1 + 1?"),), "2", "sums"), [1.0])]
N = 1


def test_ground_truths_that_this_grader_checked_are_trusted(run: Path) -> None:
    ((prompt, _),) = DRAWN
    assert find_checked_golds(read_run(run), GRADER) == {(prompt.prompt_id, "2")}


def test_ground_truths_that_another_version_checked_are_checked_again(run: Path) -> None:
    """A new version may not read a ground truth that the earlier one did."""
    assert find_checked_golds(read_run(run), GRADER.model_copy(update={"version": "rules 2"})) == frozenset()
    assert find_checked_golds(None, GRADER) == frozenset()
