"""How the values of two runs differ, prompt by prompt.

    compared = compare(this, journal, other, other_journal, wording)
    compared.mean_shift          # of the other run's values against this one's

Prompts are joined by their id. One with another ground truth in the other run is another problem, and one without a
value in either has nothing to compare: both are counted, and neither is in any other number here.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from spo_data.report.prompt_table import Wording
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, policy_differences
from spo_data.text import excerpt

SHIFTS = 10
POINTS = 1_500
"""Pairs of values that are drawn as they are; more are drawn to the nearest 1/32."""
SHIFT_STEPS = 16
"""Steps of the shift between 0 and 1, at most."""


@dataclass(frozen=True)
class ValueShift:
    """A prompt whose value is another in the other run."""

    prompt_id: str
    prompt: str
    ground_truth: str
    this: float
    other: float

    @property
    def shift(self) -> float:
        """Other minus this."""
        return self.other - self.this


@dataclass(frozen=True)
class Comparison:
    """Two runs' values; shifts are the other run's minus this run's."""

    differences: dict[str, tuple[Any, Any]]
    """What differs in policy, dataset, grader and n, this run's first."""
    only_this: int
    only_other: int
    both: int
    other_truth: int
    """Prompts in both with different ground truths."""
    without_value: int
    """Prompts in both, with the same ground truth, of which one run has no value."""
    pairs: Counter[tuple[float, float]]
    """How many prompts have which two values."""
    rose: list[ValueShift]
    fell: list[ValueShift]
    """The largest moves."""
    steps: int
    """In how many steps from 0 to 1 shifts are counted."""

    @property
    def compared(self) -> int:
        """Prompts whose values are compared."""
        return self.pairs.total()

    @property
    def means(self) -> tuple[float, float] | None:
        """The mean values over the compared prompts; None where there are none."""
        if not self.pairs:
            return None
        this, other = (sum(pair[k] * count for pair, count in self.pairs.items()) / self.compared for k in range(2))
        return this, other

    @property
    def directions(self) -> tuple[int, int, int]:
        """How many prompts rose, fell and stayed."""
        signs: Counter[int] = Counter()
        for (this, other), count in self.pairs.items():
            signs[(other > this) - (other < this)] += count
        return signs[1], signs[-1], signs[0]

    def points(self) -> dict[tuple[float, float], int]:
        """The pairs to draw, to the nearest 1/32 where they are too many."""
        grid = 10**6 if len(self.pairs) <= POINTS else 32
        points: Counter[tuple[float, float]] = Counter()
        for (this, other), count in self.pairs.items():
            points[round(this * grid) / grid, round(other * grid) / grid] += count
        return dict(sorted(points.items()))

    def shifts(self) -> tuple[list[float], list[int]]:
        """How many prompts moved by how much: the middles of the bins, 0 among them, and their counts."""
        counts: Counter[int] = Counter()
        for (this, other), count in self.pairs.items():
            counts[round((other - this) * self.steps)] += count
        furthest = max(2, *map(abs, counts))
        places = range(-furthest, furthest + 1)
        return [place / self.steps for place in places], [counts[place] for place in places]


def compare(this: Manifest, journal: Journal, other: Manifest, other_journal: Journal, wording: Wording) -> Comparison:
    """Compare a run's values with those of another."""
    ours, theirs = journal.values(this.grader), other_journal.values(other.grader)
    truths: dict[str, str] = dict(journal.query(_TRUTHS))
    other_truths: dict[str, str] = dict(other_journal.query(_TRUTHS))
    both = truths.keys() & other_truths.keys()
    same = {prompt_id for prompt_id in both if truths[prompt_id] == other_truths[prompt_id]}
    # In the order of this run, so that the same journals give the same comparison.
    values = {pid: (ours[pid], theirs[pid]) for pid in truths if pid in same and pid in ours and pid in theirs}
    ranked = sorted(values, key=lambda pid: values[pid][1] - values[pid][0])
    fell = [pid for pid in ranked[:SHIFTS] if values[pid][1] < values[pid][0]]
    rose = [pid for pid in ranked[: -SHIFTS - 1 : -1] if values[pid][1] > values[pid][0]]
    texts = {prompt.prompt_id: prompt.text for prompt in journal.prompts() if prompt.prompt_id in {*rose, *fell}}

    def moves(prompt_ids: list[str]) -> list[ValueShift]:
        return [
            ValueShift(pid, wording.own(texts[pid], 160), excerpt(truths[pid], 40), *values[pid]) for pid in prompt_ids
        ]

    return Comparison(
        differences=_differences(this, other),
        only_this=len(truths) - len(both),
        only_other=len(other_truths) - len(both),
        both=len(both),
        other_truth=len(both) - len(same),
        without_value=len(same) - len(values),
        pairs=Counter(values.values()),
        rose=moves(rose),
        fell=moves(fell),
        steps=min(SHIFT_STEPS, max(this.n, other.n)),
    )


_TRUTHS = "SELECT prompt_id, ground_truth FROM prompts ORDER BY position, prompt_number"


def _differences(this: Manifest, other: Manifest) -> dict[str, tuple[Any, Any]]:
    differences: dict[str, tuple[Any, Any]] = {"n": (this.n, other.n)} if this.n != other.n else {}
    if this.dataset.fingerprint != other.dataset.fingerprint:
        differences["dataset"] = this.dataset.source, other.dataset.source
    return {**policy_differences(this, other), **differences}
