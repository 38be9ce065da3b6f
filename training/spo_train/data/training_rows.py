"""Training data from values: verl's rows and, for each row, the scores that its prompt starts from.

    data = make_training_data(load_values("runs/demo"))                      # the values' own prompts
    data = make_training_data(load_values("values.json"), PromptOptions(dataset="train.parquet"))
    data.coverage.with_value, data.notes

There is one row per prompt, in the order of the source. A prompt without ground truth cannot be rewarded and is left
out. A prompt without a value stays, with no scores; `coverage` counts these by reason. `spo_data.join.match` decides
which prompt has which value, as for `spo-data join`.

Scores are summed unchanged. The reference trainer counts `int(score > 0)`, so a score of 0.1 is a full success there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spo_data.errors import UserError
from spo_data.grading.verifiers.registry import reading
from spo_data.join.match import Match, match, read_training_prompts
from spo_data.options import PUBLISHED_PROMPTS, PromptOptions
from spo_data.prompts.build import PromptSet
from spo_data.prompts.differences import find_read_differences
from spo_data.prompts.identity import Prompt
from spo_data.prompts.template import load_template, tool_wording
from spo_data.values.scores import make_table
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import NO_GROUND_TRUTH, make_verl_rows
from spo_train.data.value_coverage import Coverage, measure_coverage

if TYPE_CHECKING:
    import pyarrow as pa

SAME_PROMPTS = ("boxed", "retool")
"""Templates that word prompts alike; they differ in whether the chat tells the model about an interpreter."""


@dataclass(frozen=True)
class TrainingData:
    """The training prompts, and their scores before the first step."""

    rows: "pa.Table"
    """verl's columns: data_source, prompt, ability, reward_model and extra_info; one row per prompt."""
    prompts: tuple[Prompt, ...]
    """The prompts of `rows`, in the same order."""
    score_totals: np.ndarray
    """Sum of each prompt's scores, float64, shape (n_prompts,); 0 without scores."""
    score_counts: np.ndarray
    """Number of each prompt's scores, int64, shape (n_prompts,)."""
    coverage: Coverage
    template: str
    """The prompts' answer template, named as in a values' policy; for `RolloutPolicy`."""
    system: str | None
    """The prompts' system prompt; for `RolloutPolicy`."""
    notes: tuple[str, ...]
    """What a reader should know, one sentence each."""

    @property
    def prompt_ids(self) -> list[str]:
        """The prompts' ids, in order."""
        return [prompt.prompt_id for prompt in self.prompts]


def make_training_data(
    values: ValueTable, train: PromptOptions | None = None, template: str | None = None
) -> TrainingData:
    """Return the data to train on: `train`, read as `estimate` reads it, or the values' own prompts and ground truths.

    The values' prompts contain their answer instruction. `template` can only choose whether the chat tells the model
    of its interpreter: `retool` and `boxed` word prompts alike.

    Raises UserError if no prompt has a ground truth, if a prompt has two (naming both), or if `train` cannot be read or
    worded.
    """
    return _take_from_values(values, template) if train is None else _take_from_files(values, train)


def resolve_template(template: str | None, worded_by: str, prompts: "Sequence[Prompt]") -> str:
    """Return the template of prompts that contain their instruction: `template` if it words them alike, or `worded_by`.

    Raises UserError if `template` words them differently and would tell the model about an interpreter.
    """
    if template not in SAME_PROMPTS or template == worded_by:
        return worded_by
    with_instruction = load_template("retool").apply
    if all(with_instruction(prompt.messages) == prompt.messages for prompt in prompts):
        return template
    if tool_wording(template) is None:
        return worded_by
    raise UserError(
        f"--template {template}: the prompts of the values are without its answer instruction; give the original"
        " problems with --train-files"
    )


def make_unscored_row(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as a row of a values table, without a value."""
    return {
        "prompt": prompt.text,
        "prompt_id": prompt.prompt_id,
        "messages": [message._asdict() for message in prompt.messages],
        "ground_truth": prompt.ground_truth,
        "data_source": prompt.data_source,
        "extra_info": None if prompt.extra_info is None else json.dumps(prompt.extra_info),
    }


def _take_from_values(values: ValueTable, template: str | None) -> TrainingData:
    import pyarrow.compute as pc

    ground_truths = pc.utf8_trim_whitespace(pc.fill_null(values.table.column("ground_truth"), ""))
    table = values.table.filter(pc.not_equal(ground_truths, ""))
    if not len(table):
        raise UserError(
            f"{values.source} has no ground truths to train on: give the data that the values were estimated on; for"
            f" the published values it is --train-files {PUBLISHED_PROMPTS.dataset}"
            f" --dataset-config {PUBLISHED_PROMPTS.dataset_config}"
        )
    n_dropped = len(values) - len(table)
    coverage = Coverage(
        prompts=len(table),
        with_value=len(table),
        n_values=len(values),
        unused=0,
        by_text=0,
        reasons={},
        examples={},
        dropped={NO_GROUND_TRUTH: n_dropped} if n_dropped else {},
    )
    policy = None if values.provenance is None else values.provenance.policy
    prompts = tuple(replace(values, table=table).prompts())
    rows, notes = make_verl_rows(_fill_data_sources(table, values), values)
    totals, counts, score_notes = _sum_scores(table)
    if n_dropped:
        notes = [f"{n_dropped:,} prompts {NO_GROUND_TRUTH} and are left out", *notes]
    return TrainingData(
        rows=rows,
        prompts=prompts,
        score_totals=totals,
        score_counts=counts,
        coverage=coverage,
        template=resolve_template(template, policy.template if policy else "none", prompts),
        system=policy.system if policy else None,
        notes=(*notes, *score_notes),
    )


def _take_from_files(values: ValueTable, train: PromptOptions) -> TrainingData:
    import pyarrow as pa

    training = read_training_prompts(values, train)
    training.refuse_contradictions()
    matched = match(values, training)
    prompts = _use_sampled_messages(values, training.prompts)
    known = values.table.select(["value", "n_valid"]).to_pydict()
    table = make_table(
        {**make_unscored_row(prompt), **({} if row is None else {name: column[row] for name, column in known.items()})}
        for prompt, row in zip(prompts, matched.rows, strict=True)
    )
    rows, notes = make_verl_rows(table, values)
    has_value = np.array([row is not None for row in matched.rows])
    totals, counts = np.zeros(len(table)), np.zeros(len(table), dtype=np.int64)
    totals[has_value], counts[has_value], score_notes = _sum_scores(
        values.table.take(pa.array((row for row in matched.rows if row is not None), pa.int64()))
    )
    if training.n_duplicates:
        notes.append(f"{training.n_duplicates:,} rows repeat a prompt: each prompt counts once in training")
    notes += _note_other_reading(values, training, matched)
    template, system = _find_wording(values, train, training, matched)
    return TrainingData(
        rows=rows,
        prompts=prompts,
        score_totals=totals,
        score_counts=counts,
        coverage=measure_coverage(values, training, matched),
        template=template,
        system=system,
        notes=(*notes, *score_notes),
    )


def _note_other_reading(values: ValueTable, training: PromptSet, matched: Match) -> list[str]:
    """Return a note if the verifier reads other fields of the training rows than it did of the values' rows.

    What only the training rows have, such as the fields of an export, is no difference.
    """
    if values.provenance is None:
        return []
    reads, source = reading(values.provenance.grader.verifier), values.provenance.dataset.source
    valued = {
        prompt.prompt_id: prompt for prompt, row in zip(training.prompts, matched.rows, strict=True) if row is not None
    }
    found = []
    for before in values.prompts():
        now = valued.get(before.prompt_id)
        if now is None:
            continue
        if before.data_source in ("", source) or now.data_source == training.source:  # a name of the file, not the row
            before = replace(before, data_source=now.data_source)
        shared = {name: (now.extra_info or {}).get(name) for name in before.extra_info or now.extra_info or ()}
        found += find_read_differences(before, replace(now, extra_info=shared or None), reads)[:1]
    if not found:
        return []
    field, old, new = found[0]
    return [
        f"{len(found):,} prompts have another {field} than in the values, and the verifier reads it: the first had"
        f" {old}, now {new}"
    ]


def _use_sampled_messages(values: ValueTable, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Give prompts the exact messages that were sampled: equal ids allow different surrounding white space."""
    if values.provenance is None:
        return tuple(prompts)
    ids = {prompt.prompt_id for prompt in prompts}
    sampled = {prompt.prompt_id: prompt.messages for prompt in values.prompts() if prompt.prompt_id in ids}
    return tuple(replace(prompt, messages=sampled.get(prompt.prompt_id, prompt.messages)) for prompt in prompts)


def _find_wording(
    values: ValueTable, train: PromptOptions, training: PromptSet, matched: Match
) -> tuple[str, str | None]:
    """Return the template and the system prompt of the training prompts."""
    if values.provenance is None:
        return training.template.name, train.system
    policy = values.provenance.policy
    if matched.by_text == 0 and any(row is not None for row in matched.rows):
        # Equal ids mean equal messages, but the chat may tell the model something else of its interpreter.
        is_told = train.template and tool_wording(train.template) != tool_wording(policy.template)
        return training.template.name if is_told else policy.template, policy.system
    return training.template.name, train.system or (None if training.layout.is_messages else policy.system)


def _sum_scores(table: "pa.Table") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the sum and the number of each row's scores, and notes on them.

    A value without scores counts as `n_valid` scores of that value, or as one if `n_valid` is unknown.
    """
    import pyarrow.compute as pc

    column = table.column("vhat").combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    scores = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float64)
    totals = np.bincount(np.repeat(np.arange(len(table)), lengths), weights=scores, minlength=len(table))
    n_valid = pc.fill_null(table.column("n_valid"), 1).to_numpy().astype(np.int64)
    alone = lengths == 0
    counts = np.where(alone, np.maximum(n_valid, 1), lengths)
    totals = np.where(alone, table.column("value").to_numpy() * counts, totals)
    notes = []
    if alone.any():
        notes.append(f"{alone.sum():,} prompts have a value but no scores: it counts as n_valid scores, or as one")
    if between := int(((scores > 0) & (scores < 1)).sum()):
        notes.append(f"{between:,} of {len(scores):,} scores lie between 0 and 1 and are used unchanged")
    return totals, counts, notes


def _fill_data_sources(table: "pa.Table", values: ValueTable) -> "pa.Table":
    """Fill in missing data sources, by which verl groups rewards, with the source of the values."""
    import pyarrow.compute as pc

    at = table.schema.get_field_index("data_source")
    return table.set_column(at, table.schema.field(at), pc.fill_null(table.column(at), values.source))
