"""How many training prompts have a value, and why the others have none.

coverage = measure_coverage(values, training, match(values, training))
coverage.with_value, coverage.reasons
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from spo_data.join.match import Match
from spo_data.prompts.build import PromptSet
from spo_data.values.table import ValueTable


@dataclass(frozen=True)
class Coverage:
    """How many training prompts have a value."""

    prompts: int
    """Training prompts, without the dropped rows."""
    with_value: int
    n_values: int
    unused: int
    """Values that no training prompt uses."""
    by_text: int
    """Prompts that were matched by their first user message."""
    reasons: Mapping[str, int]
    """Number of prompts without a value, by reason."""
    examples: Mapping[str, str]
    """What differs at the first prompt, by reason."""
    dropped: Mapping[str, int]
    """Number of rows that are not trained on, by reason."""

    @property
    def without_value(self) -> int:
        """Training prompts without any score."""
        return self.prompts - self.with_value

    @property
    def joined_by(self) -> Literal["prompt id", "prompt text"]:
        """What prompts and values were matched by."""
        return "prompt text" if self.by_text else "prompt id"


def measure_coverage(values: ValueTable, training: PromptSet, matched: Match) -> Coverage:
    """Count what matching the training prompts with the values gave."""
    reasons = Counter(near.reason for near in matched.reasons.values())
    examples: dict[str, str] = {}
    for near in matched.reasons.values():
        examples.setdefault(near.reason, near.detail)
    return Coverage(
        prompts=len(training.prompts),
        with_value=len(training.prompts) - len(matched.reasons),
        n_values=len(values),
        unused=matched.unused,
        by_text=matched.by_text,
        reasons=dict(reasons.most_common()),
        examples=examples,
        dropped=training.dropped_by_reason(),
    )
