"""What is wrong with a dataset, found before any GPU is rented.

    report = asyncio.run(check(CheckOptions(PromptOptions(dataset="problems.jsonl"), model="Qwen3-8B")))
    report.offenders

`estimate` examines its prompts in the same way (`prompt_checks.examine`): it drops prompts with a bad ground truth and
prompts that are too long, reports leaks and chat tokens, refuses contradictory ground truths, and prints the same
notes.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from spo_data.models.chat import load_chat, read_chat_template
from spo_data.models.names import resolve_model
from spo_data.options import GraderOptions, PromptOptions
from spo_data.text import excerpt
from spo_pipelines.graders import open_pool
from spo_pipelines.prompt_checks import examine
from spo_pipelines.prompt_notes import make_notes
from spo_pipelines.prompt_source import read_prompts


@dataclass(frozen=True)
class CheckOptions:
    """One check, as the user asked for it."""

    prompts: PromptOptions
    grader: GraderOptions = field(default_factory=GraderOptions)
    model: str | None = None
    """Gives the chat template and the context length; without a model, lengths are not checked."""
    model_revision: str | None = None
    max_model_len: int | None = None
    command: tuple[str, ...] = ()
    """The command line, for notes that print a better one."""


@dataclass(frozen=True)
class Offender:
    """A row that an estimate would leave out, or would give a wrong value."""

    row: int
    """The row's position in the dataset, from 0."""
    reason: str
    detail: str
    prompt: str
    """The start of the prompt's text; empty if the row has no prompt."""


@dataclass(frozen=True)
class CheckReport:
    """What `check` found in a dataset."""

    dataset: str
    revision: str | None
    """The commit of a Hub dataset."""
    layout: str
    template: str
    verifier: str
    rows: int
    prompts: int
    """Unique prompts that an estimate would sample."""
    duplicates: int
    """Rows that repeat a prompt and its ground truth; they are not offenders, and the prompt is sampled once."""
    repeated: dict[int, int]
    """For the first row of each repeated prompt, how many further rows repeat it."""
    offenders: tuple[Offender, ...]
    """By row."""
    notes: tuple[str, ...]
    """What to do about kinds of findings, one sentence each."""
    longest_prompt: int | None
    """Tokens; None without a model."""
    context_length: int | None
    preview: str | None
    """The first prompt as the model reads it; None without a model."""

    @property
    def left_out(self) -> int:
        """How many rows are neither sampled nor duplicates of a sampled row."""
        return self.rows - self.prompts - self.duplicates

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "left_out": self.left_out}


async def check(options: CheckOptions) -> CheckReport:
    """Find everything that would spoil an estimate; raises UserError if the dataset cannot be read at all."""
    loaded = read_prompts(options.prompts, options.grader.verifier)
    chat = None
    if options.model is not None:
        model = resolve_model(options.model, options.model_revision)
        template = read_chat_template(options.prompts.chat_template)
        chat = load_chat(model, options.prompts.chat_template_kwargs, template=template)
    context_length = None if chat is None else options.max_model_len or chat.context_length
    prompt_set = loaded.prompt_set
    async with open_pool(options.grader, [loaded.grader], lambda: "run the same command again") as pool:
        examined = await examine(
            prompt_set, pool, chat, context_length, verifier=loaded.grader.verifier, measure_all=True
        )
    texts = {row: prompt.text for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)}
    findings = [
        *prompt_set.dropped,
        *prompt_set.contradictions,
        *examined.bad_golds,
        *examined.too_long,
        *examined.leaks,
        *examined.chat_tokens,
    ]
    left = prompt_set.without([*examined.unusable, *prompt_set.find_contradicted()]).prompts
    return CheckReport(
        dataset=loaded.rows.source,
        revision=loaded.rows.revision,
        layout=prompt_set.layout.name,
        template=prompt_set.template.name,
        verifier=loaded.grader.verifier,
        rows=prompt_set.n_rows,
        prompts=len(left),
        duplicates=prompt_set.n_duplicates,
        repeated=dict(prompt_set.repeats),
        offenders=tuple(
            Offender(finding.row, finding.reason, finding.detail, excerpt(texts.get(finding.row, "")))
            for finding in sorted(findings, key=lambda finding: (finding.row, finding.reason))
        ),
        notes=make_notes(prompt_set, examined, loaded.grader.verifier, options.command),
        longest_prompt=max(map(len, examined.token_ids.values()), default=None),
        context_length=context_length,
        preview=None if chat is None else chat.render(prompt_set.prompts[0].messages),
    )
