"""The prompts of a dataset and their verifier, loaded before any model.

loaded = read_prompts(PromptOptions(dataset="problems.jsonl"), verifier=None)
loaded.prompt_set, loaded.grader
"""

from dataclasses import dataclass

from spo_data.grading.reading.numbers import is_number
from spo_data.grading.verifiers.registry import load_verifier, reading, verifier_version
from spo_data.options import PromptOptions, Truncated
from spo_data.prompts.build import PromptSet, read_prompt_set
from spo_data.prompts.rows import Rows
from spo_data.provenance import GraderRecord


@dataclass(frozen=True)
class LoadedPrompts:
    """A dataset's rows, its prompts, and the grader of their responses."""

    rows: Rows
    prompt_set: PromptSet
    grader: GraderRecord
    """The verifier that was asked for, or the default for these ground truths."""


def read_prompts(
    wanted: PromptOptions,
    verifier: str | None,
    run_verifier: str | None = None,
    instruction: str = "boxed",
    also: str | None = None,
    truncated: Truncated = "zero",
) -> LoadedPrompts:
    """Read the prompts and add the answer instruction; raises UserError if the dataset has no prompt.

    `run_verifier` is the verifier of the run that is continued: it stays the default if prompts are added. `also` is
    the second opinion's, which reads rows too. `truncated` is how the grader scores truncated responses.
    """
    if verifier is not None:
        resolve_grader(verifier)  # refuses a misspelt one before reading
    reads = reading(*filter(None, (verifier or run_verifier or GENERATED, also)))
    rows, prompt_set = read_prompt_set(wanted, instruction, reads)
    chosen = verifier or run_verifier or _choose_verifier(prompt_set)
    return LoadedPrompts(rows, prompt_set, resolve_grader(chosen, truncated=truncated))


GENERATED = "reasoning-gym"
"""The default verifier of generated problems whose ground truths are not all numbers."""


def resolve_grader(verifier: str, option: str = "--verifier", truncated: Truncated = "zero") -> GraderRecord:
    """Return the verifier with its installed version; raises UserError, naming the option, if it does not exist."""
    load_verifier(verifier, option)
    return GraderRecord(verifier=verifier, version=verifier_version(verifier), truncated=truncated)


def _choose_verifier(prompt_set: PromptSet) -> str:
    """Return math-verify, or reasoning-gym for generated problems: only it can grade answers other than numbers."""
    generated = any("generator" in (prompt.extra_info or {}) for prompt in prompt_set.prompts)
    if generated and not all(is_number(prompt.ground_truth) for prompt in prompt_set.prompts):
        return GENERATED
    return "math-verify"
