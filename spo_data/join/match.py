"""Match training prompts with the values of a table.

    training = read_training_prompts(values, PromptOptions(dataset="train.parquet"))
    matched = match(values, training)
    matched.rows, matched.reasons

Training data is read as `estimate` reads it: problems without an instruction of their own get the one that the values
were made with, unless the options say otherwise. The key is the prompt id. A training prompt whose ground truth differs
from that of the values has no value: it would be the value of another task.

Values of other tools (`prompt` and `vhat`, `{prompt: [scores]}`) hold only a prompt's first user message, without the
system prompt and further turns. So that message is their key, as it is the reference trainer's. If several training
prompts begin with it, none of them has a value, since it could belong to any of them.
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
"""The nearest prompt is found for this many prompts without a value; the reasons of the others are likely the same."""


@dataclass(frozen=True)
class Match:
    """The value of each training prompt, or why it has none."""

    rows: tuple[int | None, ...]
    """For each training prompt, the row of its value in the table; None if it has no value."""
    reasons: Mapping[str, NearMiss]
    """Why prompts have no value, by prompt id."""
    unused: int
    """Values that no training prompt has."""
    by_text: int
    """The number of prompts that were matched by their first user message."""


def read_training_prompts(values: ValueTable, options: PromptOptions) -> PromptSet:
    """The prompts of training data, with the values' instruction and system prompt if they are plain problems.

    Raises UserError if the data cannot be read, or if that instruction is a file that the options do not name.
    """
    _, worded = read_prompt_set(options)
    if worded.layout.is_messages or values.provenance is None:
        return worded
    policy = values.provenance.policy
    if options.template is None and policy.template not in BUILT_IN:
        raise UserError(
            f"the values were made with the template file {policy.template}: pass the same file with --template"
            " FILE.jinja"
        )
    wanted = replace(options, template=options.template or policy.template, system=options.system or policy.system)
    if wanted.template == worded.template.name and wanted.system == options.system:
        return worded
    return read_prompt_set(wanted)[1]


def match(values: ValueTable, training: PromptSet) -> Match:
    """Match training prompts with values."""
    keys = _find_keys(values)
    found = [keys.row(prompt) for prompt in training.prompts]
    users = Counter(row for row in found if row is not None)
    contradicted = {contradiction.prompt_id for contradiction in training.contradictions}
    reasons: dict[str, NearMiss] = {}
    unknown: list[Prompt] = []
    for prompt, row in zip(training.prompts, found, strict=True):
        if prompt.prompt_id in contradicted:
            reason = NearMiss(CONTRADICTORY, "two rows of the training data give it different ground truths")
            reasons[prompt.prompt_id] = reason
        elif row is None:
            unknown.append(prompt)
        elif users[row] > 1:
            detail = f"{users[row]:,} training prompts begin with {excerpt(prompt.text, 80)!r}"
            reasons[prompt.prompt_id] = NearMiss(SHARED_TEXT, detail)
        elif (gold := keys.ground_truths[row]) is not None and gold != prompt.ground_truth:
            detail = f"{excerpt(prompt.ground_truth, 40)!r} in the training data, {excerpt(gold, 40)!r} in the values"
            reasons[prompt.prompt_id] = NearMiss(OTHER_GROUND_TRUTH, detail, prompt.prompt_id)
    reasons |= _find_nearest(unknown, values, users)
    rows = tuple(
        None if prompt.prompt_id in reasons else row for prompt, row in zip(training.prompts, found, strict=True)
    )
    texts = set(keys.by_text.values())
    return Match(rows, reasons, len(values) - len(users), sum(row in texts for row in rows))


@dataclass(frozen=True)
class _Keys:
    """The keys of the values: each row is in one of the two mappings."""

    by_id: Mapping[str, int]
    by_text: Mapping[str, int]
    ground_truths: Sequence[str | None]

    def row(self, prompt: Prompt) -> int | None:
        """The row of a prompt's value; None if it has none."""
        row = self.by_id.get(prompt.prompt_id)
        return self.by_text.get(prompt.text) if row is None else row


def _find_keys(values: ValueTable) -> _Keys:
    # A run with a system prompt has it in its messages, so values without one were published in another format.
    foreign = values.provenance is None or values.provenance.policy.system is not None
    by_id, by_text, ground_truths = {}, {}, []
    for position, row in enumerate(values.rows(("prompt_id", "prompt", "messages", "ground_truth"))):
        if foreign and len(row["messages"]) == 1:
            by_text[row["prompt"]] = position
        else:
            by_id[row["prompt_id"]] = position
        ground_truths.append(row["ground_truth"])
    return _Keys(by_id, by_text, ground_truths)


def _find_nearest(unknown: Sequence[Prompt], values: ValueTable, used: Collection[int]) -> dict[str, NearMiss]:
    """The difference between each prompt without a value and the nearest prompt whose value is unused."""
    if not unknown:
        return {}
    finder = NearMisses(prompt for row, prompt in enumerate(values.prompts()) if row not in used)
    rest = NearMiss("not looked at", f"only the first {LOOKED_AT:,} prompts without a value are looked at")
    return {
        prompt.prompt_id: finder.find(prompt) if number < LOOKED_AT else rest for number, prompt in enumerate(unknown)
    }
