"""Compare the values of two runs, prompt by prompt.

    comparison = compare(this, journal, other, other_journal, wording)
    comparison.means             # of this run's values and of the other's

Prompts are joined by their id. A prompt with a different ground truth in the other run is a different problem, and a
prompt without a value in one run cannot be compared. Both are counted, and neither is in any other number here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spo_data.provenance import DatasetRecord
from spo_data.report.prompt_table import Wording
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, policy_differences
from spo_data.text import excerpt

SHIFTS = 10
"""Prompts that are listed for each direction."""
POINTS = 1_500
"""Pairs of values that are drawn exactly; if there are more, they are rounded to the nearest 1/32."""
SHIFT_STEPS = 16
"""At most this many steps of the shift from 0 to 1."""
_DATASET = ("source", "config", "split", "revision", "layout", "rows", "duplicates", "fingerprint")
_TRUTHS = "SELECT prompt_id, ground_truth FROM prompts ORDER BY position, prompt_number"


@dataclass(frozen=True)
class ValueShift:
    """A prompt whose value differs between the runs."""

    prompt_id: str
    prompt: str
    ground_truth: str
    this: float
    other: float

    @property
    def shift(self) -> float:
        """The other run's value minus this run's."""
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
    """Prompts in both with the same ground truth, but without a value in one of the runs."""
    pairs: Counter[tuple[float, float]]
    """The number of prompts with each pair of values."""
    rose: list[ValueShift]
    fell: list[ValueShift]
    """The prompts whose values changed most, in each direction."""
    steps: int
    """The number of steps from 0 to 1 in which shifts are counted."""

    @property
    def compared(self) -> int:
        """Prompts whose values are compared."""
        return self.pairs.total()

    @property
    def means(self) -> tuple[float, float] | None:
        """The mean values over the compared prompts; None if there are none."""
        if not self.pairs:
            return None
        this, other = (sum(pair[k] * count for pair, count in self.pairs.items()) / self.compared for k in range(2))
        return this, other

    @property
    def directions(self) -> tuple[int, int, int]:
        """The numbers of prompts whose value rose, fell and stayed."""
        signs: Counter[int] = Counter()
        for (this, other), count in self.pairs.items():
            signs[(other > this) - (other < this)] += count
        return signs[1], signs[-1], signs[0]

    def points(self) -> dict[tuple[float, float], int]:
        """The pairs to draw, rounded to the nearest 1/32 if there are too many."""
        grid = 10**6 if len(self.pairs) <= POINTS else 32
        points: Counter[tuple[float, float]] = Counter()
        for (this, other), count in self.pairs.items():
            points[round(this * grid) / grid, round(other * grid) / grid] += count
        return dict(sorted(points.items()))

    def shifts(self) -> tuple[list[float], list[int]]:
        """The distribution of shifts: the middles of the bins, 0 among them, and the number of prompts in each."""
        counts: Counter[int] = Counter()
        for (this, other), count in self.pairs.items():
            counts[round((other - this) * self.steps)] += count
        furthest = max(2, *map(abs, counts))
        places = range(-furthest, furthest + 1)
        return [place / self.steps for place in places], [counts[place] for place in places]


def compare(this: Manifest, journal: Journal, other: Manifest, other_journal: Journal, wording: Wording) -> Comparison:
    """Compare a run's values with those of another."""
    ours, theirs = journal.values(this.grader, this.n), other_journal.values(other.grader, other.n)
    truths: dict[str, str] = dict(journal.query(_TRUTHS))
    other_truths: dict[str, str] = dict(other_journal.query(_TRUTHS))
    both = truths.keys() & other_truths.keys()
    same = {prompt_id for prompt_id in both if truths[prompt_id] == other_truths[prompt_id]}
    # In this run's order, so that the same journals give the same comparison.
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
        differences=_find_differences(this, other),
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


def _find_differences(this: Manifest, other: Manifest) -> dict[str, tuple[Any, Any]]:
    differences: dict[str, tuple[Any, Any]] = {"n": (this.n, other.n)} if this.n != other.n else {}
    if this.dataset.fingerprint != other.dataset.fingerprint:
        named = [field for field in _DATASET if getattr(this.dataset, field) != getattr(other.dataset, field)]
        differences["dataset"] = _describe(this.dataset, named), _describe(other.dataset, named)
    return {**policy_differences(this, other), **differences}


def _describe(dataset: DatasetRecord, fields: Sequence[str]) -> str:
    """These fields of a dataset, such as "config en, rows 40"."""
    values = ((field, getattr(dataset, field)) for field in fields)
    return ", ".join(f"{field} {_show(field, value)}" for field, value in values)


def _show(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if field in ("rows", "duplicates"):
        return f"{value:,}"
    return str(value)[:12] if field == "fingerprint" else str(value)
