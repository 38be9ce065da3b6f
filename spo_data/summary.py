"""What `spo-data show` says of a run: counted from the journal, so it is true of a run that is still going on.

summary = summarize(journal, manifest)
summary.histogram[3]      # prompts whose value is nearest to 3/n
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from spo_data.grading.verdict import OBSERVATIONS, Verdict
from spo_data.journal import Journal
from spo_data.manifest import Counts, Manifest
from spo_data.prompt_set import excerpt
from spo_data.values import PromptValue, prompt_value

EXAMPLES = 5


@dataclass(frozen=True)
class Example:
    """One prompt among the hardest or easiest."""

    prompt_id: str
    value: float
    prompt: str
    ground_truth: str


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    `value_mean` is the mean over the prompts that have a value, the bounds are means over all that were tried; None
    where there is none.
    """

    model: str
    dataset: str
    n: int
    rows: int
    duplicates: int
    dropped: dict[str, int]
    prompts: int
    asked: int
    """prompts x n."""
    drawn: int
    verdicts: dict[str, int]
    undrawn: int
    errors: dict[str, int]
    """What the engine said of the samples it failed to draw, and how often."""
    missing: int
    """Samples asked for that are not valid: never drawn, failed to draw, failed to grade."""
    prompts_without_value: int
    value_mean: float | None
    value_low: float | None
    value_high: float | None
    histogram: list[int]
    """n + 1 counts: prompts whose value is nearest to 0/n, 1/n, ..., n/n."""
    response_tokens: int
    response_tokens_mean: float | None
    samples_per_second: float | None
    tokens_per_second: float | None
    hardest: list[Example]
    easiest: list[Example]

    @property
    def complete(self) -> bool:
        """Every row became a prompt, and every prompt has its n valid samples."""
        return self.missing == 0 and not self.dropped

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"complete": self.complete, **asdict(self)}

    def counts(self) -> Counts:
        """For the manifest."""
        return Counts(
            dropped=self.dropped,
            prompts=self.prompts,
            samples=self.drawn,
            verdicts=self.verdicts,
            undrawn=self.undrawn,
            missing=self.missing,
        )


def summarize(journal: Journal, manifest: Manifest) -> Summary:
    """Count a run's journal."""
    ((n_prompts,),) = journal.query("SELECT count(*) FROM prompts")
    ((drawn, tokens),) = journal.query("SELECT count(*), coalesce(sum(response_tokens), 0) FROM samples")
    verdicts = _counts(journal, "SELECT verdict, count(*) FROM samples GROUP BY 1 ORDER BY 2 DESC, 1")
    errors = _counts(journal, "SELECT error, count(*) FROM failures GROUP BY 1 ORDER BY 2 DESC, 1")
    values = _values(journal)
    known = [(value.value, position) for position, value in values if value.value is not None]
    histogram = [0] * (manifest.n + 1)
    for mean, _ in known:
        histogram[round(mean * manifest.n)] += 1
    seconds = manifest.timings.sampling_seconds
    valid = sum(count for verdict, count in verdicts.items() if verdict in OBSERVATIONS)
    return Summary(
        model=manifest.policy.model,
        dataset=manifest.dataset.source,
        n=manifest.n,
        rows=manifest.dataset.rows,
        duplicates=manifest.dataset.duplicates,
        dropped=_counts(journal, "SELECT reason, count(*) FROM dropped GROUP BY 1 ORDER BY 2 DESC, 1"),
        prompts=n_prompts,
        asked=n_prompts * manifest.n,
        drawn=drawn,
        verdicts=verdicts,
        undrawn=sum(errors.values()),
        errors=errors,
        missing=n_prompts * manifest.n - valid,
        prompts_without_value=n_prompts - len(known),
        value_mean=_mean([mean for mean, _ in known]),
        value_low=_mean([value.value_low for _, value in values]),
        value_high=_mean([value.value_high for _, value in values]),
        histogram=histogram,
        response_tokens=tokens,
        response_tokens_mean=tokens / drawn if drawn else None,
        samples_per_second=manifest.timings.sampled / seconds if seconds else None,
        tokens_per_second=manifest.timings.sampled_tokens / seconds if seconds else None,
        hardest=_examples(journal, sorted(known)),
        easiest=_examples(journal, sorted(known, key=lambda pair: (-pair[0], pair[1]))),
    )


def _values(journal: Journal) -> list[tuple[int, PromptValue]]:
    """(position, value) of the prompts that were tried; one whose samples all failed has bounds 0 and 1."""
    undrawn = dict(journal.query("SELECT prompt_number, count(*) FROM failures GROUP BY 1"))
    rows = journal.query(
        "SELECT position, prompt_number, verdict, score FROM prompts LEFT JOIN samples USING (prompt_number)"
        " ORDER BY position, sample_index"
    )
    values = []
    for (position, number), group in groupby(rows, key=lambda row: (row[0], row[1])):
        samples = [(Verdict(verdict), score) for *_, verdict, score in group if verdict is not None]
        value = prompt_value(samples, undrawn.get(number, 0))
        if value.n:
            values.append((position, value))
    return values


def _counts(journal: Journal, sql: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in journal.query(sql)}


def _mean(numbers: Sequence[float | None]) -> float | None:
    present = [number for number in numbers if number is not None]
    return sum(present) / len(present) if present else None


def _examples(journal: Journal, ranked: Iterable[tuple[float, int]]) -> list[Example]:
    examples = []
    for value, position in list(ranked)[:EXAMPLES]:
        ((prompt_id, messages, ground_truth),) = journal.query(
            "SELECT prompt_id, messages, ground_truth FROM prompts WHERE position = ?", (position,)
        )
        text = next(content for role, content in json.loads(messages) if role == "user")
        examples.append(Example(prompt_id, value, excerpt(text), ground_truth))
    return examples
