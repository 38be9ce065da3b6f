"""What is wrong with a dataset, found before any GPU is rented.

    report = asyncio.run(check(CheckOptions(PromptOptions(dataset="problems.jsonl"), model="Qwen3-8B")))
    report.offenders

`estimate` asks the same questions of the same functions first: `unverifiable` and `too_long` drop prompts there, leaks
are named, contradictory ground truths stop it.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from spo_data.chat import Chat, load_chat
from spo_data.dataset_rows import Rows
from spo_data.grading.numbers import is_number
from spo_data.grading.pool import GraderPool
from spo_data.grading.verdict import Graded, Verdict
from spo_data.grading.verifiers import load_verifier, verifier_version
from spo_data.grading.worker import GradeJob
from spo_data.leak import leaked_answer
from spo_data.manifest import GraderRecord
from spo_data.model import resolve_model
from spo_data.options import GraderOptions, PromptOptions
from spo_data.prompt import Prompt
from spo_data.prompt_set import Dropped, PromptSet, excerpt, read_prompt_set


@dataclass(frozen=True)
class CheckOptions:
    """One check, as the user asked for it."""

    prompts: PromptOptions
    grader: GraderOptions = field(default_factory=GraderOptions)
    model: str | None = None
    """Whose chat template and context length prompts are held against; None leaves both out."""
    model_revision: str | None = None
    max_model_len: int | None = None


@dataclass(frozen=True)
class Offender:
    """A row that an estimate would leave out, or could not give a true value."""

    row: int
    """The row's position in the dataset, from 0."""
    reason: str
    detail: str
    prompt: str
    """The start of the prompt's text; empty where the row has none."""


@dataclass(frozen=True)
class CheckReport:
    """A dataset's account."""

    dataset: str
    layout: str
    template: str
    verifier: str
    rows: int
    prompts: int
    """Unique prompts that an estimate would sample."""
    duplicates: int
    """Rows that repeat a prompt and its ground truth: sampled once, no offence."""
    repeated: dict[int, int]
    """For the first row of each repeated prompt, how many further rows repeat it."""
    offenders: tuple[Offender, ...]
    """By row."""
    longest_prompt: int | None
    """Tokens; None without a model."""
    context_length: int | None
    preview: str | None
    """The first prompt as the model reads it; None without a model."""

    @property
    def left_out(self) -> int:
        """Rows that are neither sampled nor repeat one that is."""
        return self.rows - self.prompts - self.duplicates

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "left_out": self.left_out}


@dataclass(frozen=True)
class PromptsRead:
    """The dataset as it was read, before a model looks at it."""

    rows: Rows
    prompt_set: PromptSet
    grader: GraderRecord
    """The verifier asked for, or the default for these ground truths."""


async def check(options: CheckOptions) -> CheckReport:
    """Look for everything that would spoil an estimate; raises UserError where the dataset cannot be read at all."""
    read = read_prompts(options.prompts, options.grader.verifier)
    chat = None
    if options.model is not None:
        model = resolve_model(options.model, options.model_revision)
        chat = load_chat(model, options.prompts.chat_template_kwargs)
    context_length = None if chat is None else options.max_model_len or chat.context_length
    prompt_set = read.prompt_set
    async with GraderPool.from_options(options.grader, read.grader.verifier) as pool:
        bad_golds = await unverifiable(prompt_set, pool)
    leaks = leaking(prompt_set)
    long: list[Dropped] = []
    token_ids: Mapping[str, np.ndarray] = {}
    if chat is not None and context_length is not None:
        token_ids = tokenized(prompt_set.prompts, chat)
        long = too_long(prompt_set, token_ids, context_length)
    texts = {row: prompt.text for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)}
    findings = [*prompt_set.dropped, *prompt_set.contradictions, *bad_golds, *long, *leaks]
    left = prompt_set.without([*bad_golds, *long, *prompt_set.contradicted()]).prompts
    return CheckReport(
        dataset=read.rows.source,
        layout=prompt_set.layout.name,
        template=prompt_set.template.name,
        verifier=read.grader.verifier,
        rows=prompt_set.n_rows,
        prompts=len(left),
        duplicates=prompt_set.n_duplicates,
        repeated=dict(prompt_set.repeats),
        offenders=tuple(
            Offender(finding.row, finding.reason, finding.detail, excerpt(texts.get(finding.row, "")))
            for finding in sorted(findings, key=lambda finding: (finding.row, finding.reason))
        ),
        longest_prompt=max(map(len, token_ids.values()), default=None),
        context_length=context_length,
        preview=None if chat is None else chat.render(prompt_set.prompts[0].messages),
    )


def read_prompts(
    wanted: PromptOptions, verifier: str | None, begun_with: str | None = None, instruction: str = "boxed"
) -> PromptsRead:
    """Read and word the prompts; raises UserError where the dataset has none.

    `begun_with` is the verifier of the run that is there: it stays the default when more prompts come in.
    """
    asked = None if verifier is None else grader_record(verifier)
    rows, prompt_set = read_prompt_set(wanted, instruction)
    return PromptsRead(rows, prompt_set, asked or grader_record(begun_with or _default_verifier(prompt_set)))


def grader_record(verifier: str, option: str = "--verifier") -> GraderRecord:
    """The verifier as it is here and now; raises UserError, which names the option, where there is none."""
    load_verifier(verifier, option)
    return GraderRecord(verifier=verifier, version=verifier_version(verifier))


async def unverifiable(
    prompt_set: PromptSet, pool: GraderPool, trusted: Collection[tuple[str, str]] = frozenset()
) -> list[Dropped]:
    """The prompts whose ground truth does not verify against itself: any verdict on them would be false.

    `trusted` are (prompt id, ground truth) pairs that were checked before.
    """
    numbered = [
        (prompt, row)
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (prompt.prompt_id, prompt.ground_truth) not in trusted
    ]
    checks = await gold_checks((prompt for prompt, _ in numbered), pool)
    return [
        Dropped(row, str(graded.verdict), graded.detail or "")
        for (_, row), graded in zip(numbered, checks, strict=True)
        if graded.verdict is not Verdict.CORRECT
    ]


async def gold_checks(prompts: Iterable[Prompt], pool: GraderPool) -> list[Graded]:
    """Each prompt's ground truth graded against itself, by the pool's first verifier."""
    prompts = list(prompts)
    checks: list[Graded] = []
    for start in range(0, len(prompts), 1024):
        checks += await asyncio.gather(*(_gold_checked(prompt, pool) for prompt in prompts[start : start + 1024]))
    return checks


def leaking(prompt_set: PromptSet) -> list[Dropped]:
    """The prompts that state their own ground truth as an answer."""
    template = prompt_set.template
    found = (
        (row, leaked_answer(template.without_instruction(prompt.messages[-1].content), prompt.ground_truth))
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        Dropped(row, "answer_in_prompt", f"the prompt says {excerpt(words, 60)!r}")
        for row, words in found
        if words is not None
    ]


def tokenized(prompts: Sequence[Prompt], chat: Chat) -> dict[str, np.ndarray]:
    """The rendered prompts' token ids by prompt id."""
    token_ids = chat.tokenize(prompt.messages for prompt in prompts)
    return {prompt.prompt_id: ids for prompt, ids in zip(prompts, token_ids, strict=True)}


def too_long(prompt_set: PromptSet, token_ids: Mapping[str, np.ndarray], context_length: int) -> list[Dropped]:
    """The prompts that leave no room for a response."""
    lengths = (
        (row, len(token_ids[prompt.prompt_id])) for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        Dropped(row, "prompt_too_long", f"{length} tokens leave no room in a context of {context_length}")
        for row, length in lengths
        if length >= context_length
    ]


async def _gold_checked(prompt: Prompt, pool: GraderPool) -> Graded:
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
