"""Training prompts matched with the values of a table.

    training = read_training_prompts(values, PromptOptions(dataset="train.parquet"))
    matched = match(values, training)
    matched.rows, matched.reasons

Training data is read as `estimate` reads it: problems that bring no instruction of their own get the one that the
values were made with, unless the options say otherwise. The key is the prompt id. A training prompt whose ground truth
is not the values' has no value either: it would be the value of another task.

Values of other makers (`prompt` and `vhat`, `{prompt: [scores]}`) know a prompt by its first user message alone, so
that is their key, as it is the reference trainer's: the system prompt and further turns are unknown. Where several
training prompts begin with that message, none of them has a value: it could be another one's.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from spo_data.errors import UserError
from spo_data.join.near_miss import NearMiss, NearMisses
from spo_data.options import PromptOptions
from spo_data.prompts.build import PromptSet, read_prompt_set
from spo_data.prompts.identity import Prompt
from spo_data.prompts.template import BUILT_IN
from spo_data.text import excerpt
from spo_data.values.table import ValueTable

OTHER_GROUND_TRUTH = "other ground truth"
CONTRADICTORY = "contradictory ground truth"
SHARED_TEXT = "shared first message"
LOOKED_AT = 10_000
"""Prompts without a value that the nearest one is looked for; many more are missing for the same reasons."""


@dataclass(frozen=True)
class Match:
    """Which training prompt has which value."""

    rows: tuple[int | None, ...]
    """For each training prompt, the row of its value in the table; None where it has none."""
    reasons: Mapping[str, NearMiss]
    """Why the others have none, by prompt id."""
    unused: int
    """Values that no training prompt has."""
    by_text: int
    """How many prompts were matched by their first user message."""


def read_training_prompts(values: ValueTable, options: PromptOptions) -> PromptSet:
    """The prompts of training data, worded as the values' were where they have no words of their own.

    Raises UserError where the data cannot be read, or where that wording is a file which the options do not name.
    """
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


def match(values: ValueTable, training: PromptSet) -> Match:
    """Match training prompts with values."""
    keys = _keys(values)
    found = [keys.row(prompt) for prompt in training.prompts]
    users = Counter(row for row in found if row is not None)
    contradicted = {contradiction.prompt_id for contradiction in training.contradictions}
    reasons: dict[str, NearMiss] = {}
    unknown: list[Prompt] = []
    for prompt, row in zip(training.prompts, found, strict=True):
        if prompt.prompt_id in contradicted:
            reason = NearMiss(CONTRADICTORY, "two rows of the training data have two ground truths")
            reasons[prompt.prompt_id] = reason
        elif row is None:
            unknown.append(prompt)
        elif users[row] > 1:
            detail = f"{users[row]:,} training prompts begin with {excerpt(prompt.text, 80)!r}"
            reasons[prompt.prompt_id] = NearMiss(SHARED_TEXT, detail)
        elif (gold := keys.ground_truths[row]) is not None and gold != prompt.ground_truth:
            detail = f"{excerpt(prompt.ground_truth, 40)!r} in the training data, {excerpt(gold, 40)!r} in the values"
            reasons[prompt.prompt_id] = NearMiss(OTHER_GROUND_TRUTH, detail, prompt.prompt_id)
    reasons |= _nearest(unknown, values, users)
    rows = tuple(
        None if prompt.prompt_id in reasons else row for prompt, row in zip(training.prompts, found, strict=True)
    )
    texts = set(keys.by_text.values())
    return Match(rows, reasons, len(values) - len(users), sum(row in texts for row in rows))


@dataclass(frozen=True)
class _Keys:
    """By what the values know their prompts: each row is in one of the two."""

    by_id: Mapping[str, int]
    by_text: Mapping[str, int]
    ground_truths: Sequence[str | None]

    def row(self, prompt: Prompt) -> int | None:
        """The row of a prompt's value."""
        row = self.by_id.get(prompt.prompt_id)
        return self.by_text.get(prompt.text) if row is None else row


def _keys(values: ValueTable) -> _Keys:
    # A run that had a system prompt has it in its messages: values without them were published in another format.
    foreign = values.provenance is None or values.provenance.policy.system is not None
    by_id, by_text, ground_truths = {}, {}, []
    for position, row in enumerate(values.rows(("prompt_id", "prompt", "messages", "ground_truth"))):
        if foreign and len(row["messages"]) == 1:
            by_text[row["prompt"]] = position
        else:
            by_id[row["prompt_id"]] = position
        ground_truths.append(row["ground_truth"])
    return _Keys(by_id, by_text, ground_truths)


def _nearest(unknown: Sequence[Prompt], values: ValueTable, used: Collection[int]) -> dict[str, NearMiss]:
    """What differs between prompts without a value and the nearest of the values that no other prompt has."""
    if not unknown:
        return {}
    finder = NearMisses(prompt for row, prompt in enumerate(values.prompts()) if row not in used)
    rest = NearMiss("not looked at", f"the nearest prompt is looked for of {LOOKED_AT:,} prompts without a value")
    return {
        prompt.prompt_id: finder.find(prompt) if number < LOOKED_AT else rest for number, prompt in enumerate(unknown)
    }
