"""What `check` and `estimate` both ask of a dataset's prompts."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spo_data.grading.answers.numbers import is_number
from spo_data.grading.ground_truths import find_leaked_answer
from spo_data.grading.pool import GraderPool
from spo_data.grading.verdict import Graded, Verdict
from spo_data.grading.verifiers.registry import load_verifier, verifier_version
from spo_data.grading.worker import GradeJob
from spo_data.models.chat import Chat
from spo_data.options import PromptOptions
from spo_data.prompts.build import PromptSet, read_prompt_set
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.prompts.rows import Rows
from spo_data.provenance import GraderRecord
from spo_data.text import excerpt


@dataclass(frozen=True)
class PromptSource:
    """The dataset as it was read, before a model looks at it."""

    rows: Rows
    prompt_set: PromptSet
    grader: GraderRecord
    """The verifier asked for, or the default for these ground truths."""


def read_prompts(
    wanted: PromptOptions, verifier: str | None, begun_with: str | None = None, instruction: str = "boxed"
) -> PromptSource:
    """Read and word the prompts; raises UserError where the dataset has none.

    `begun_with` is the verifier of the run that is there: it stays the default when more prompts come in.
    """
    asked = None if verifier is None else resolve_grader(verifier)
    rows, prompt_set = read_prompt_set(wanted, instruction)
    return PromptSource(rows, prompt_set, asked or resolve_grader(begun_with or _default_verifier(prompt_set)))


def resolve_grader(verifier: str, option: str = "--verifier") -> GraderRecord:
    """The verifier as it is here and now; raises UserError, which names the option, where there is none."""
    load_verifier(verifier, option)
    return GraderRecord(verifier=verifier, version=verifier_version(verifier))


async def find_unverifiable(
    prompt_set: PromptSet, pool: GraderPool, trusted: Collection[tuple[str, str]] = frozenset()
) -> list[DroppedRow]:
    """The prompts whose ground truth does not verify against itself: any verdict on them would be false.

    `trusted` are (prompt id, ground truth) pairs that were checked before.
    """
    numbered = [
        (prompt, row)
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (prompt.prompt_id, prompt.ground_truth) not in trusted
    ]
    checks = await check_golds((prompt for prompt, _ in numbered), pool)
    return [
        DroppedRow(row, str(graded.verdict), graded.detail or "")
        for (_, row), graded in zip(numbered, checks, strict=True)
        if graded.verdict is not Verdict.CORRECT
    ]


async def check_golds(prompts: Iterable[Prompt], pool: GraderPool) -> list[Graded]:
    """Each prompt's ground truth graded against itself, by the pool's first verifier."""
    prompts = list(prompts)
    checks: list[Graded] = []
    for start in range(0, len(prompts), 1024):
        checks += await asyncio.gather(*(_check_gold(prompt, pool) for prompt in prompts[start : start + 1024]))
    return checks


def find_leaks(prompt_set: PromptSet) -> list[DroppedRow]:
    """The prompts that state their own ground truth as an answer."""
    template = prompt_set.template
    found = (
        (row, find_leaked_answer(template.without_instruction(prompt.messages[-1].content), prompt.ground_truth))
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        DroppedRow(row, "answer_in_prompt", f"the prompt says {excerpt(words, 60)!r}")
        for row, words in found
        if words is not None
    ]


def tokenize(prompts: Sequence[Prompt], chat: Chat) -> dict[str, np.ndarray]:
    """The rendered prompts' token ids by prompt id."""
    token_ids = chat.tokenize(prompt.messages for prompt in prompts)
    return {prompt.prompt_id: ids for prompt, ids in zip(prompts, token_ids, strict=True)}


def find_too_long(prompt_set: PromptSet, token_ids: Mapping[str, np.ndarray], context_length: int) -> list[DroppedRow]:
    """The prompts that leave no room for a response."""
    lengths = (
        (row, len(token_ids[prompt.prompt_id])) for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        DroppedRow(row, "prompt_too_long", f"{length} tokens leave no room in a context of {context_length}")
        for row, length in lengths
        if length >= context_length
    ]


async def _check_gold(prompt: Prompt, pool: GraderPool) -> Graded:
    job = GradeJob.of(prompt, None)
    graded = await pool.grade(job)
    if graded.verdict in (Verdict.GRADER_TIMEOUT, Verdict.GRADER_ERROR):
        return await pool.grade(job)  # that was our failure, and may pass
    return graded


def _default_verifier(prompt_set: PromptSet) -> str:
    """math-verify, but a generated problem that asks for more than a number may have answers that only it can judge."""
    generated = any("generator" in (prompt.extra_info or {}) for prompt in prompt_set.prompts)
    if generated and not all(is_number(prompt.ground_truth) for prompt in prompt_set.prompts):
        return "reasoning-gym"
    return "math-verify"
