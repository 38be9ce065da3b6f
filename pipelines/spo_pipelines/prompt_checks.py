"""The checks of a dataset's prompts that `check` and `estimate` share.

examined = await examine(prompt_set, pool, chat, context_length, verifier="math-verify")
examined.bad_golds, examined.too_long, examined.leaks, examined.chat_tokens
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
from spo_data.prompts.chat_tokens import find_chat_token
from spo_data.prompts.identity import DroppedRow, Prompt
from spo_data.prompts.unanswerable import find_unanswerable
from spo_data.text import excerpt


@dataclass(frozen=True)
class Examination:
    """What is wrong with a dataset's prompts, each prompt identified by its row."""

    bad_golds: list[DroppedRow] = field(default_factory=list)
    """No answer can equal the ground truth, or it does not verify against itself: any verdict would be false."""
    leaks: list[DroppedRow] = field(default_factory=list)
    """The prompt states its own ground truth as an answer; it can be sampled nevertheless."""
    chat_tokens: list[DroppedRow] = field(default_factory=list)
    """The prompt contains tokens of a chat template inside the model's own; it can be sampled nevertheless."""
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
    verifier: str,
    skip_golds: bool = False,
    checked: Collection[tuple[str, str]] = frozenset(),
    measure_all: bool = False,
) -> Examination:
    """Examine the prompts: ground truths and leaks unless `skip_golds`, lengths if there is a model.

    `verifier` is the pool's first one. `checked` are (prompt id, ground truth) pairs that were checked before. A prompt
    with a bad ground truth is only measured with `measure_all`. Raises UserError if the model's chat template refuses a
    prompt that is measured, or writes the date.
    """
    bad_golds = [] if skip_golds else await _find_bad_golds(prompt_set, pool, verifier, checked)
    leaks = [] if skip_golds else _find_leaks(prompt_set)
    chat_tokens = _find_chat_tokens(prompt_set, chat)
    if chat is None or context_length is None:
        return Examination(bad_golds, leaks, chat_tokens)
    measured = prompt_set if measure_all else prompt_set.without(bad_golds)
    token_ids = _tokenize(measured.prompts, chat)
    too_long = _find_too_long(measured, token_ids, context_length)
    return Examination(bad_golds, leaks, chat_tokens, too_long, token_ids)


async def check_golds(prompts: Iterable[Prompt], pool: GraderPool) -> list[Grade]:
    """Grade each prompt's ground truth against itself, with the pool's first verifier; returns a verdict per prompt."""
    prompts = list(prompts)
    checks: list[Grade] = []
    for start in range(0, len(prompts), 1024):
        checks += await asyncio.gather(*(_check_gold(prompt, pool) for prompt in prompts[start : start + 1024]))
    return checks


async def _find_bad_golds(
    prompt_set: PromptSet, pool: GraderPool, verifier: str, checked: Collection[tuple[str, str]]
) -> list[DroppedRow]:
    numbered = [
        (prompt, row)
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (prompt.prompt_id, prompt.ground_truth) not in checked
    ]
    found = {row: find_unanswerable(prompt.ground_truth, verifier) for prompt, row in numbered}
    graded = [(prompt, row) for prompt, row in numbered if found[row] is None]
    checks = await check_golds((prompt for prompt, _ in graded), pool)
    return [
        *(DroppedRow(row, *unanswerable) for row, unanswerable in found.items() if unanswerable is not None),
        *(
            DroppedRow(row, str(grade.verdict), grade.detail or "")
            for (_, row), grade in zip(graded, checks, strict=True)
            if grade.verdict is not Verdict.CORRECT
        ),
    ]


def _find_chat_tokens(prompt_set: PromptSet, chat: Chat | None) -> list[DroppedRow]:
    """Find prompts with chat tokens; none if the model's template writes nothing around the first of them."""
    found = [
        (prompt, DroppedRow(row, "chat_tokens_in_prompt", f"the prompt contains {token}"))
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (token := next(filter(None, (find_chat_token(message.content) for message in prompt.messages)), None))
    ]
    if found and chat is not None and chat.render(found[0][0].messages).strip() == found[0][0].text:
        return []
    return [finding for _, finding in found]


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
