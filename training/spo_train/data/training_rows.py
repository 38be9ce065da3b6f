"""From values to what the trainer reads: verl's rows and, row by row, the scores that each prompt starts from.

    data = make_training_data(load_values("runs/demo"))                      # the values' own prompts
    data = make_training_data(load_values("values.json"), PromptOptions(dataset="train.parquet"))
    data.coverage.with_value, data.notes

One row a prompt, in the order of the source. A prompt without ground truth cannot be rewarded and is left out; one
without a value stays, with no scores, and `coverage` says how many there are and why. Which prompt has which value is
decided by `spo_data.join.match`, as for `spo-data join`.

Scores are summed as they are. The reference trainer counts `int(score > 0)` as a success, which makes a score of 0.1 a
certain one: not done here.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spo_data.errors import UserError
from spo_data.join.match import Match, match, read_training_prompts
from spo_data.options import PromptOptions
from spo_data.prompts.build import PromptSet
from spo_data.prompts.identity import Prompt
from spo_data.prompts.template import load_template, tool_wording
from spo_data.values.scores import make_table
from spo_data.values.table import ValueTable
from spo_data.values.verl_rows import NO_GROUND_TRUTH, make_verl_rows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Coverage:
    """How training prompts and values fit."""

    prompts: int
    """Prompts that are trained on."""
    with_value: int
    n_values: int
    unused: int
    """Values that no training prompt uses."""
    by_text: int
    """Prompts that have their value by their first user message."""
    reasons: Mapping[str, int]
    """How many prompts have no value for which reason."""
    examples: Mapping[str, str]
    """For each of these reasons, what differs at the first of its prompts."""
    dropped: Mapping[str, int]
    """Rows that are not trained on, by reason."""

    @property
    def without_value(self) -> int:
        """Prompts that are trained on from no scores at all."""
        return self.prompts - self.with_value

    @property
    def joined_by(self) -> Literal["prompt id", "prompt text"]:
        """By what the prompts found their values."""
        return "prompt text" if self.by_text else "prompt id"


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, and what is known of it before."""

    rows: "pa.Table"
    """verl's columns: data_source, prompt, ability, reward_model and extra_info; one row a prompt."""
    prompts: tuple[Prompt, ...]
    """The same, in the same order."""
    score_totals: np.ndarray
    """Sum of a prompt's scores, float64, shape (n_prompts,); 0 where there are none."""
    score_counts: np.ndarray
    """Number of its scores, int64, shape (n_prompts,)."""
    coverage: Coverage
    template: str
    """How the prompts are worded, by the name that a values' policy has for it; for `RolloutPolicy`."""
    system: str | None
    """Their system prompt, likewise."""
    notes: tuple[str, ...]
    """What a reader should know, one sentence each."""

    @property
    def prompt_ids(self) -> list[str]:
        """The prompts' ids, in order."""
        return [prompt.prompt_id for prompt in self.prompts]


def make_training_data(
    values: ValueTable, train: PromptOptions | None = None, template: str | None = None
) -> TrainingData:
    """The data to train on: `train`, read as `estimate` reads it, or the values' own prompts and ground truths.

    These are worded already. A `template` for them can only say whether the model is told of its interpreter, which is
    no part of a prompt: `retool` and `boxed` word the same prompts.

    Raises UserError where there is no ground truth to train on, where a prompt has two (naming both), and where `train`
    cannot be read or worded.
    """
    return _of_values(values, template) if train is None else _of_files(values, train)


def make_validation_rows(
    options: PromptOptions | Sequence[PromptOptions],
    values: ValueTable,
    note: Callable[[str], None] = lambda _: None,
) -> "pa.Table":
    """Validation data in verl's columns, worded as training data is; `note` is told what is left out.

    A prompt that the data repeats is repeated. Files without a `data_source` are one each, named after the file: verl's
    metrics go by it. Several data sets make one table, since verl cannot read files whose `extra_info` differ.
    """
    import pyarrow as pa

    tables = []
    for wanted in [options] if isinstance(options, PromptOptions) else options:
        found = read_training_prompts(values, wanted)
        found.refuse_contradictions()
        for reason, count in found.dropped_by_reason().items():
            note(f"{wanted.dataset}: {count:,} of {found.n_rows:,} rows are not validated on: {reason}")
        name = Path(wanted.dataset).stem if Path(wanted.dataset).expanduser().exists() else wanted.dataset
        named = [
            replace(prompt, data_source=name) if prompt.data_source == wanted.dataset else prompt
            for prompt in found.prompts
        ]
        repeats = [1 + found.repeats.get(row, 0) for row in found.rows]
        tables.append(make_table(map(_row, named)).take(np.repeat(np.arange(len(named)), repeats)))
    rows, notes = make_verl_rows(pa.concat_tables(tables), values, "test")
    for sentence in notes:
        note(f"validation: {sentence}")
    return rows


def _of_values(values: ValueTable, template: str | None) -> TrainingData:
    import pyarrow.compute as pc

    ground_truths = pc.utf8_trim_whitespace(pc.fill_null(values.table.column("ground_truth"), ""))
    table = values.table.filter(pc.not_equal(ground_truths, ""))
    if not len(table):
        raise UserError(
            f"{values.source} has no ground truths to train on: give the data that the values were made for with"
            " --train-files"
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
    rows, notes = make_verl_rows(_with_data_sources(table, values), values)
    totals, counts, score_notes = _scores(table)
    if n_dropped:
        notes = [f"{n_dropped:,} prompts {NO_GROUND_TRUTH}: they are left out", *notes]
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


def _of_files(values: ValueTable, train: PromptOptions) -> TrainingData:
    import pyarrow as pa

    training = read_training_prompts(values, train)
    training.refuse_contradictions()
    matched = match(values, training)
    prompts = _use_sampled_messages(values, training.prompts)
    known = values.table.select(["value", "n_valid"]).to_pydict()
    table = make_table(
        {**_row(prompt), **({} if row is None else {name: column[row] for name, column in known.items()})}
        for prompt, row in zip(prompts, matched.rows, strict=True)
    )
    rows, notes = make_verl_rows(table, values)
    has_value = np.array([row is not None for row in matched.rows])
    totals, counts = np.zeros(len(table)), np.zeros(len(table), dtype=np.int64)
    totals[has_value], counts[has_value], score_notes = _scores(
        values.table.take(pa.array((row for row in matched.rows if row is not None), pa.int64()))
    )
    if training.n_duplicates:
        notes.append(f"{training.n_duplicates:,} rows repeat a prompt: each prompt is trained on once a pass")
    template, system = _wording(values, train, training, matched)
    return TrainingData(
        rows=rows,
        prompts=prompts,
        score_totals=totals,
        score_counts=counts,
        coverage=_coverage(values, training, matched),
        template=template,
        system=system,
        notes=(*notes, *score_notes),
    )


def _use_sampled_messages(values: ValueTable, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """The prompts with the very messages that were sampled: equal ids allow other white space around them."""
    if values.provenance is None:
        return tuple(prompts)
    ids = {prompt.prompt_id for prompt in prompts}
    sampled = {prompt.prompt_id: prompt.messages for prompt in values.prompts() if prompt.prompt_id in ids}
    return tuple(replace(prompt, messages=sampled.get(prompt.prompt_id, prompt.messages)) for prompt in prompts)


def _wording(values: ValueTable, train: PromptOptions, training: PromptSet, matched: Match) -> tuple[str, str | None]:
    """The template and system prompt of the training prompts."""
    if values.provenance is None:
        return training.template.name, train.system
    policy = values.provenance.policy
    if matched.by_text == 0 and any(row is not None for row in matched.rows):
        # Equal ids: the same messages, wherever their words came from; but not what the chat tells of an interpreter.
        is_told = train.template and tool_wording(train.template) != tool_wording(policy.template)
        return training.template.name if is_told else policy.template, policy.system
    return training.template.name, train.system or (None if training.layout.is_messages else policy.system)


def _coverage(values: ValueTable, training: PromptSet, matched: Match) -> Coverage:
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


def _scores(table: "pa.Table") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The sum and the number of each row's scores, and what should be known of them.

    A value without scores counts as the scores that it is said to be the mean of, or as one where that is not said.
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
        notes.append(f"{alone.sum():,} prompts have a value without its scores: it counts as n_valid scores, or as one")
    if between := int(((scores > 0) & (scores < 1)).sum()):
        notes.append(f"{between:,} of {len(scores):,} scores lie between 0 and 1 and are taken as they are")
    return totals, counts, notes


def _with_data_sources(table: "pa.Table", values: ValueTable) -> "pa.Table":
    """verl groups rewards by data source: where the values have none, it is what they were loaded from."""
    import pyarrow.compute as pc

    at = table.schema.get_field_index("data_source")
    return table.set_column(at, table.schema.field(at), pc.fill_null(table.column(at), values.source))


def _row(prompt: Prompt) -> dict[str, Any]:
    """A prompt as a row of a values table, its value unknown."""
    return {
        "prompt": prompt.text,
        "prompt_id": prompt.prompt_id,
        "messages": [message._asdict() for message in prompt.messages],
        "ground_truth": prompt.ground_truth,
        "data_source": prompt.data_source,
        "extra_info": None if prompt.extra_info is None else json.dumps(prompt.extra_info),
    }


SAME_PROMPTS = ("boxed", "retool")
"""Templates that differ in what the chat tells of an interpreter, which is no part of a prompt."""


def resolve_template(template: str | None, worded_by: str, prompts: "Sequence[Prompt]") -> str:
    """The template of prompts that are worded already: what was asked for, where it words the same prompts.

    Raises UserError where it does not, and the model was to be told of an interpreter by it.
    """
    if template not in SAME_PROMPTS or template == worded_by:
        return worded_by
    with_instruction = load_template("retool").apply
    if all(with_instruction(prompt.messages) == prompt.messages for prompt in prompts):
        return template
    if tool_wording(template) is None:
        return worded_by
    raise UserError(
        f"--template {template}: the prompts of the values are without its answer instruction; give the problems that"
        " they were made from with --train-files"
    )
