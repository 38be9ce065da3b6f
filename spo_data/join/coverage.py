"""Report which training prompts have a value, before a trainer starts without half of them.

    joined = join(load_values("org/name"), PromptOptions(dataset="train.parquet"))
    joined.coverage, joined.missing

`spo_data.join.match` matches prompts with values; this module reports the result.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from spo_data.join.match import match, read_training_prompts
from spo_data.join.near_miss import NearMiss
from spo_data.options import PromptOptions
from spo_data.text import excerpt
from spo_data.values.table import ValueTable


@dataclass(frozen=True)
class Missing:
    """A training prompt without a value, and why."""

    row: int
    """The row of the training data that it came from, from 0."""
    prompt_id: str
    prompt: str
    near: NearMiss


@dataclass(frozen=True)
class JoinReport:
    """How training data and values match."""

    values: str
    revision: str | None
    training: str
    template: str
    """How the training prompts were worded."""
    rows: int
    dropped: dict[str, int]
    """Rows that did not become prompts, by reason."""
    prompts: int
    """Unique training prompts."""
    with_value: int
    by_text: int
    """Prompts that have a value by their first user message, because the values hold no more of a prompt."""
    missing: list[Missing]
    n_values: int
    unused: int
    """Values that no training prompt has."""
    unfinished: int | None
    """Prompts of the run that have no value yet, as samples of theirs are not drawn; None if the values do not say."""

    @property
    def coverage(self) -> float:
        """Share of the unique training prompts that have a value."""
        return self.with_value / self.prompts

    @property
    def reasons(self) -> dict[str, int]:
        """The number of missing prompts by reason."""
        return dict(Counter(missing.near.reason for missing in self.missing).most_common())

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            **{name: value for name, value in vars(self).items() if name != "missing"},
            "coverage": self.coverage,
            "reasons": self.reasons,
            "missing": [{**vars(missing), "near": vars(missing.near)} for missing in self.missing],
        }


def join(values: ValueTable, options: PromptOptions) -> JoinReport:
    """Join training data to values; raises UserError if the training data cannot be read or worded."""
    training = read_training_prompts(values, options)
    matched = match(values, training)
    missing = [
        Missing(row, prompt.prompt_id, excerpt(prompt.text), matched.reasons[prompt.prompt_id])
        for prompt, row in zip(training.prompts, training.rows, strict=True)
        if prompt.prompt_id in matched.reasons
    ]
    return JoinReport(
        values=values.source,
        revision=values.revision,
        training=options.dataset,
        template=training.template.name,
        rows=training.n_rows,
        dropped=training.dropped_by_reason(),
        prompts=len(training.prompts),
        with_value=len(training.prompts) - len(missing),
        by_text=matched.by_text,
        missing=missing,
        n_values=len(values),
        unused=matched.unused,
        unfinished=None if values.completeness is None else values.completeness.unfinished,
    )
