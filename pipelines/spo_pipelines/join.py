"""Which training prompts have a value, before a trainer starts without half of them.

    joined = join(load_values("org/name"), PromptOptions(dataset="train.parquet"))
    joined.coverage, joined.missing

Training data is read as `estimate` reads it: problems that bring no instruction of their own get the one that the
values were made with, unless `--template` says otherwise. The join is by prompt id. A training prompt whose ground
truth is not the values' has no value either: it would be the value of another task.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from spo_data.errors import UserError
from spo_data.near_miss import NearMiss, NearMisses
from spo_data.options import PromptOptions
from spo_data.prompt_set import PromptSet, excerpt, read_prompt_set
from spo_data.template import BUILT_IN
from spo_data.value_table import ValueTable

OTHER_GROUND_TRUTH = "other ground truth"
CONTRADICTORY = "contradictory ground truth"
LOOKED_AT = 10_000
"""Prompts without a value that the nearest one is looked for; many more are missing for the same reasons."""


@dataclass(frozen=True)
class Missing:
    """A training prompt without a value, and why."""

    row: int
    """The row of the training data that it came from, from 0."""
    prompt_id: str
    prompt: str
    near: NearMiss


@dataclass(frozen=True)
class Joined:
    """How training data and values fit."""

    values: str
    revision: str | None
    training: str
    template: str
    """How the training prompts were worded."""
    rows: int
    dropped: dict[str, int]
    """Rows that are no prompts, by reason."""
    prompts: int
    """Unique training prompts."""
    with_value: int
    missing: list[Missing]
    n_values: int
    unused: int
    """Values that no training prompt has."""

    @property
    def coverage(self) -> float:
        """Share of the unique training prompts that have a value."""
        return self.with_value / self.prompts

    @property
    def reasons(self) -> dict[str, int]:
        """How many prompts are missing for which reason."""
        return dict(Counter(missing.near.reason for missing in self.missing).most_common())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{name: value for name, value in vars(self).items() if name != "missing"},
            "coverage": self.coverage,
            "reasons": self.reasons,
            "missing": [{**vars(missing), "near": vars(missing.near)} for missing in self.missing],
        }


def join(values: ValueTable, options: PromptOptions) -> Joined:
    """Join training data to values; raises UserError where the training data cannot be read or worded."""
    training = _training_prompts(values, options)
    golds = {
        row["prompt_id"]: (position, row["ground_truth"])
        for position, row in enumerate(values.rows(("prompt_id", "ground_truth")))
    }
    contradicted = {found.prompt_id for found in training.contradictions}
    reasons: dict[str, NearMiss] = {}
    used, unknown = set(), []
    for prompt in training.prompts:
        position, gold = golds.get(prompt.prompt_id, (None, None))
        if prompt.prompt_id in contradicted:
            reasons[prompt.prompt_id] = NearMiss(CONTRADICTORY, "two rows of the training data have two ground truths")
        elif position is None:
            unknown.append(prompt)
        elif gold is not None and gold != prompt.ground_truth:
            detail = f"{excerpt(prompt.ground_truth, 40)!r} in the training data, {excerpt(gold, 40)!r} in the values"
            reasons[prompt.prompt_id] = NearMiss(OTHER_GROUND_TRUTH, detail, prompt.prompt_id)
        if position is not None:
            used.add(prompt.prompt_id)
    if unknown:
        finder = NearMisses(prompt for prompt in values.prompts() if prompt.prompt_id not in used)
        reasons |= {prompt.prompt_id: finder.find(prompt) for prompt in unknown[:LOOKED_AT]}
        rest = NearMiss("not looked at", f"the nearest prompt is looked for of {LOOKED_AT:,} prompts without a value")
        reasons |= {prompt.prompt_id: rest for prompt in unknown[LOOKED_AT:]}
    missing = [
        Missing(row, prompt.prompt_id, excerpt(prompt.text), reasons[prompt.prompt_id])
        for prompt, row in zip(training.prompts, training.rows, strict=True)
        if prompt.prompt_id in reasons
    ]
    return Joined(
        values=values.source,
        revision=values.revision,
        training=options.dataset,
        template=training.template.name,
        rows=training.n_rows,
        dropped=training.dropped_by_reason(),
        prompts=len(training.prompts),
        with_value=len(training.prompts) - len(missing),
        missing=missing,
        n_values=len(values),
        unused=len(values) - len(used),
    )


def _training_prompts(values: ValueTable, options: PromptOptions) -> PromptSet:
    """The training prompts, worded as the values' were where they have no words of their own."""
    _, worded = read_prompt_set(options)
    if worded.layout.is_messages or values.provenance is None:
        return worded
    policy = values.provenance.policy
    if options.template is None and policy.template not in BUILT_IN:
        raise UserError(
            f"the values were worded by {policy.template}, which is a file: give the same one with --template"
            " FILE.jinja"
        )
    wanted = replace(options, template=options.template or policy.template, system=options.system or policy.system)
    if wanted.template == worded.template.name and wanted.system == options.system:
        return worded
    return read_prompt_set(wanted)[1]
