"""The prompts of a dataset and the verifier for them, read before a model looks at them.

source = read_prompts(PromptOptions(dataset="problems.jsonl"), verifier=None)
source.prompt_set, source.grader
"""

from dataclasses import dataclass

from spo_data.grading.answers.numbers import is_number
from spo_data.grading.verifiers.registry import load_verifier, verifier_version
from spo_data.options import PromptOptions
from spo_data.prompts.build import PromptSet, read_prompt_set
from spo_data.prompts.rows import Rows
from spo_data.provenance import GraderRecord


@dataclass(frozen=True)
class PromptSource:
    """A dataset as it was read, before a model looks at it."""

    rows: Rows
    prompt_set: PromptSet
    grader: GraderRecord
    """The verifier asked for, or the default for these ground truths."""


def read_prompts(
    wanted: PromptOptions, verifier: str | None, begun_with: str | None = None, instruction: str = "boxed"
) -> PromptSource:
    """Read and word the prompts; raises UserError if the dataset has none.

    `begun_with` is the verifier of the run that is continued: it stays the default when more prompts come in.
    """
    asked = None if verifier is None else resolve_grader(verifier)
    rows, prompt_set = read_prompt_set(wanted, instruction)
    return PromptSource(rows, prompt_set, asked or resolve_grader(begun_with or _default_verifier(prompt_set)))


def resolve_grader(verifier: str, option: str = "--verifier") -> GraderRecord:
    """The verifier in its present version; raises UserError, which names the option, if there is no such verifier."""
    load_verifier(verifier, option)
    return GraderRecord(verifier=verifier, version=verifier_version(verifier))


def _default_verifier(prompt_set: PromptSet) -> str:
    """math-verify, but a generated problem that asks for more than a number may have answers that only it can judge."""
    generated = any("generator" in (prompt.extra_info or {}) for prompt in prompt_set.prompts)
    if generated and not all(is_number(prompt.ground_truth) for prompt in prompt_set.prompts):
        return "reasoning-gym"
    return "math-verify"
