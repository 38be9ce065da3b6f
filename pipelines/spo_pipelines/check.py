"""What is wrong with a dataset, found before any GPU is rented.

    report = asyncio.run(check(CheckOptions(PromptOptions(dataset="problems.jsonl"), model="Qwen3-8B")))
    report.offenders

`estimate` asks the same questions of the same functions first: `find_unverifiable` and `find_too_long` drop
prompts there, leaks are named, contradictory ground truths stop it.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spo_data.grading.pool import GraderPool
from spo_data.models.chat import load_chat
from spo_data.models.names import resolve_model
from spo_data.options import GraderOptions, PromptOptions
from spo_data.text import excerpt
from spo_pipelines.prompt_checks import find_leaks, find_too_long, find_unverifiable, read_prompts, tokenize

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from spo_data.prompts.identity import DroppedRow


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
        bad_golds = await find_unverifiable(prompt_set, pool)
    leaks = find_leaks(prompt_set)
    long: list[DroppedRow] = []
    token_ids: Mapping[str, np.ndarray] = {}
    if chat is not None and context_length is not None:
        token_ids = tokenize(prompt_set.prompts, chat)
        long = find_too_long(prompt_set, token_ids, context_length)
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
