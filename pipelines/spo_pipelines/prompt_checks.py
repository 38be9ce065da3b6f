"""The checks of a dataset's prompts that `check` and `estimate` share.

examined = await examine(prompt_set, pool, chat, context_length)
examined.bad_golds, examined.too_long, examined.leaks
prompt_set.without(examined.unusable)
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spo_data.grading.ground_truths import find_leaked_answer
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool
from spo_data.models.chat import Chat
from spo_data.models.template_date import refuse_dates
from spo_data.prompts.build import PromptSet
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.text import excerpt


@dataclass(frozen=True)
class Examination:
    """What is wrong with a dataset's prompts, each prompt identified by its row."""

    bad_golds: list[DroppedRow] = field(default_factory=list)
    """The ground truth does not verify against itself: any verdict on the prompt would be false."""
    leaks: list[DroppedRow] = field(default_factory=list)
    """The prompt states its own ground truth as an answer; it can be sampled nevertheless."""
    too_long: list[DroppedRow] = field(default_factory=list)
    """The prompt leaves no room for a response."""
    token_ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The rendered prompts' token ids by prompt id, int32, of the prompts that were measured; empty without a model."""

    @property
    def unusable(self) -> list[DroppedRow]:
        """The prompts that an estimate leaves out; one that `measure_all` found twice stands here twice."""
        return [*self.bad_golds, *self.too_long]


async def examine(
    prompt_set: PromptSet,
    pool: GraderPool,
    chat: Chat | None,
    context_length: int | None,
    *,
    skip_golds: bool = False,
    checked: Collection[tuple[str, str]] = frozenset(),
    measure_all: bool = False,
) -> Examination:
    """Examine the prompts: ground truths and leaks unless `skip_golds`, lengths if there is a model.

    `checked` are (prompt id, ground truth) pairs that were checked before. A prompt with a bad ground truth is only
    measured with `measure_all`. Raises UserError if the model's chat template refuses a prompt that is measured, or
    writes the date.
    """
    bad_golds = [] if skip_golds else await _find_bad_golds(prompt_set, pool, checked)
    leaks = [] if skip_golds else _find_leaks(prompt_set)
    if chat is None or context_length is None:
        return Examination(bad_golds, leaks)
    measured = prompt_set if measure_all else prompt_set.without(bad_golds)
    token_ids = _tokenize(measured.prompts, chat)
    return Examination(bad_golds, leaks, _find_too_long(measured, token_ids, context_length), token_ids)


async def check_golds(prompts: Iterable[Prompt], pool: GraderPool) -> list[Grade]:
    """Grade each prompt's ground truth against itself, with the pool's first verifier; returns a verdict per prompt."""
    prompts = list(prompts)
    checks: list[Grade] = []
    for start in range(0, len(prompts), 1024):
        checks += await asyncio.gather(*(_check_gold(prompt, pool) for prompt in prompts[start : start + 1024]))
    return checks


async def _find_bad_golds(
    prompt_set: PromptSet, pool: GraderPool, checked: Collection[tuple[str, str]]
) -> list[DroppedRow]:
    numbered = [
        (prompt, row)
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (prompt.prompt_id, prompt.ground_truth) not in checked
    ]
    checks = await check_golds((prompt for prompt, _ in numbered), pool)
    return [
        DroppedRow(row, str(graded.verdict), graded.detail or "")
        for (_, row), graded in zip(numbered, checks, strict=True)
        if graded.verdict is not Verdict.CORRECT
    ]


def _find_leaks(prompt_set: PromptSet) -> list[DroppedRow]:
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


def _tokenize(prompts: Sequence[Prompt], chat: Chat) -> dict[str, np.ndarray]:
    refuse_dates(chat, (prompt.messages for prompt in prompts))
    token_ids = chat.tokenize(prompt.messages for prompt in prompts)
    return {prompt.prompt_id: ids for prompt, ids in zip(prompts, token_ids, strict=True)}


def _find_too_long(prompt_set: PromptSet, token_ids: Mapping[str, np.ndarray], context_length: int) -> list[DroppedRow]:
    lengths = (
        (row, len(token_ids[prompt.prompt_id])) for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        DroppedRow(row, "prompt_too_long", f"{length} tokens leave no room in a context of {context_length}")
        for row, length in lengths
        if length >= context_length
    ]


async def _check_gold(prompt: Prompt, pool: GraderPool) -> Grade:
    job = GradeJob.of(prompt, None)
    graded = await pool.grade(job)
    if graded.verdict in (Verdict.GRADER_TIMEOUT, Verdict.GRADER_ERROR):
        return await pool.grade(job)  # our failure, not the ground truth's: a second try often succeeds
    return graded
