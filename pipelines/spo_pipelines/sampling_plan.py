"""Everything about an estimate that is known before an engine starts.

    plan = await plan_sampling(options, read_prompts(options.prompts, None), pool)
    plan.prompt_set.dropped_by_reason(), plan.token_bound, plan.preview

Prompts are checked as by `spo-data check`, rendered and measured, all before a GPU is touched. A prompt that leaves no
room for a response is dropped and counted; it does not end the estimate.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from spo_data.engine_arguments import arguments_of_policy
from spo_data.engines.accelerators import find_accelerators
from spo_data.engines.protocol import SampleRequest
from spo_data.engines.replicas import Replicas, choose_replicas, uses_ray
from spo_data.engines.tool_loop import CODE_START, refuse_stops
from spo_data.errors import UserError, first_line
from spo_data.grading.verdict import Verdict
from spo_data.grading.workers.pool import GraderPool
from spo_data.models.chat import Chat, load_chat, read_chat_template
from spo_data.models.dimensions import Dimensions, read_dimensions
from spo_data.models.names import Model, resolve_model
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling, ToolOptions
from spo_data.prompts.build import PromptSet
from spo_data.prompts.identity import DroppedRow, sample_seed
from spo_data.prompts.template import tool_wording
from spo_data.provenance import DatasetRecord, GraderRecord, PolicyRecord, ToolsRecord
from spo_data.ray_address import refuse_stale_address
from spo_data.run.manifest import Manifest, package_versions
from spo_pipelines.prompt_checks import examine
from spo_pipelines.prompt_notes import REMEDIES, make_notes
from spo_pipelines.prompt_source import LoadedPrompts


@dataclass(frozen=True)
class EstimateOptions:
    """One estimate, as the user asked for it."""

    model: str
    out: Path
    prompts: PromptOptions
    sampling: Sampling = field(default_factory=Sampling)
    engine: EngineOptions = field(default_factory=EngineOptions)
    grader: GraderOptions = field(default_factory=GraderOptions)
    tools: ToolOptions = field(default_factory=ToolOptions)
    model_revision: str | None = None
    skip_check: bool = False
    """Leave out the check of ground truths against themselves, and the search for leaks."""
    command: tuple[str, ...] = ()
    """The command line, for the manifest and for errors that print the right command."""


@dataclass(frozen=True)
class SamplingPlan:
    """What an estimate will do."""

    options: EstimateOptions
    model: Model
    prompt_set: PromptSet
    token_ids: Mapping[str, np.ndarray]
    """The rendered prompt's token ids by prompt id, int32."""
    context_length: int
    preview: str
    """One rendered prompt, as the model reads it."""
    chat: Chat
    leaks: tuple[DroppedRow, ...]
    """The prompts that state their own ground truth; they are sampled nevertheless."""
    notes: tuple[str, ...]
    """What to do about kinds of findings, one sentence each, as `check` prints it."""
    manifest: Manifest
    replicas: Replicas
    """How the engine uses this machine; it is no part of the policy, and another call may have other ones."""

    @property
    def engine_length(self) -> int:
        """Tokens of the longest sequence that the engine must reserve memory for."""
        return max(len(ids) + self.max_tokens(prompt_id) for prompt_id, ids in self.token_ids.items())

    @property
    def n_samples(self) -> int:
        """Samples of the whole run, including those already drawn."""
        return len(self.prompt_set.prompts) * self.options.sampling.n

    @property
    def token_bound(self) -> int:
        """Upper bound on the response tokens of the whole run."""
        return self.options.sampling.n * sum(self.max_tokens(prompt_id) for prompt_id in self.token_ids)

    @property
    def mentions_tools(self) -> bool:
        """Whether the first prompt, as the model reads it, contains the tag that calls the interpreter."""
        return CODE_START in self.preview

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of a dry run."""
        return {
            "rows": self.prompt_set.n_rows,
            "duplicates": self.prompt_set.n_duplicates,
            "dropped": self.prompt_set.dropped_by_reason(),
            "leaks": len(self.leaks),
            "notes": list(self.notes),
            "prompts": len(self.prompt_set.prompts),
            "samples": self.n_samples,
            "token_bound": self.token_bound,
            "engine": self.replicas.as_dict(),
            "manifest": self.manifest.model_dump(mode="json"),
        }

    def max_tokens(self, prompt_id: str) -> int:
        """Most tokens that a response to the prompt may have, by the sampling options and the context length."""
        return min(self.options.sampling.max_tokens, self.context_length - len(self.token_ids[prompt_id]))

    def requests(self, done: Mapping[str, set[int]], without: Collection[str] = frozenset()) -> Iterator[SampleRequest]:
        """Yield the requests for missing samples, prompt by prompt; none for the prompt ids in `without`.

        Prompts that have some of their samples come first, then the others, each in prompt order: whenever the run
        stops, few prompts are half-drawn.
        """
        for prompt in sorted(self.prompt_set.prompts, key=lambda prompt: not done.get(prompt.prompt_id)):
            if prompt.prompt_id in without:
                continue
            have: Collection[int] = done.get(prompt.prompt_id, ())
            for index in range(self.options.sampling.n):
                if index not in have:
                    yield SampleRequest(
                        prompt_id=prompt.prompt_id,
                        sample_index=index,
                        seed=sample_seed(self.options.sampling.seed, prompt.prompt_id, index),
                        prompt_token_ids=self.token_ids[prompt.prompt_id],
                        max_tokens=self.max_tokens(prompt.prompt_id),
                    )


async def plan_sampling(
    options: EstimateOptions,
    loaded: LoadedPrompts,
    pool: GraderPool,
    checked: Collection[tuple[str, str]] = frozenset(),
    also: GraderRecord | None = None,
) -> SamplingPlan:
    """Check and measure the prompts, and return the plan.

    `checked` are (prompt id, ground truth) pairs that were checked before; `also` is the grader of the second opinion.
    Raises UserError if the options or the prompts do not allow an estimate.
    """
    wanted, rows, prompt_set = options.prompts, loaded.rows, loaded.prompt_set
    prompt_set.refuse_contradictions()
    model = resolve_model(options.model, options.model_revision)
    trust_remote_code = bool(options.engine.engine_arg.get("trust_remote_code", False))
    template = read_chat_template(wanted.chat_template)
    chat = load_chat(model, wanted.chat_template_kwargs, trust_remote_code=trust_remote_code, template=template)
    replicas = _plan_replicas(options.engine, model, trust_remote_code)
    if options.tools.enabled:
        refuse_stops(options.sampling.stop)
    chat = replace(chat, wording=tool_wording(prompt_set.template.name, with_tools=options.tools.enabled))
    context_length = options.engine.max_model_len or chat.context_length
    verifier = loaded.grader.verifier
    examined = await examine(
        prompt_set, pool, chat, context_length, verifier=verifier, skip_golds=options.skip_check, checked=checked
    )
    notes = make_notes(prompt_set, examined, verifier, options.command)
    prompt_set = prompt_set.without(examined.unusable)
    if not prompt_set.prompts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in prompt_set.dropped_by_reason().items())
        last = prompt_set.dropped[-1]
        raise UserError(
            f"--dataset {wanted.dataset}: no prompt is left to sample ({reasons}; row {last.row}: {last.detail})"
            + ("; --skip-check trusts the ground truths" if last.reason == Verdict.GOLD_UNPARSEABLE else "")
            + (f"; these rows {REMEDIES[last.reason]}" if last.reason in REMEDIES else "")
        )
    rows_left = set(prompt_set.rows)
    dataset = DatasetRecord(
        source=rows.source,
        config=rows.config,
        split=rows.split,
        revision=rows.revision,
        layout=prompt_set.layout.name,
        rows=prompt_set.n_rows,
        duplicates=prompt_set.n_duplicates,
        fingerprint=prompt_set.fingerprint,
    )
    return SamplingPlan(
        options=options,
        model=model,
        prompt_set=prompt_set,
        token_ids={prompt.prompt_id: examined.token_ids[prompt.prompt_id] for prompt in prompt_set.prompts},
        context_length=context_length,
        preview=chat.render(prompt_set.prompts[0].messages),
        chat=chat,
        notes=notes,
        leaks=tuple(leak for leak in examined.leaks if leak.row in rows_left),
        manifest=_make_manifest(
            options, _make_policy(options, model, prompt_set, chat, context_length), dataset, loaded.grader, also
        ),
        replicas=replicas,
    )


def _plan_replicas(options: EngineOptions, model: Model, trust_remote_code: bool) -> Replicas:
    if uses_ray(options):
        refuse_stale_address()
    try:
        machine = find_accelerators()
    except ImportError as error:
        raise UserError(
            f"no engine is installed ({first_line(error)}): install requirements/gpu.txt or cpu.txt"
        ) from error
    if machine.on_cpu and options.tensor_parallel_size == 1:
        return choose_replicas(machine, options, Dimensions(model.name))
    dimensions = read_dimensions(model, trust_remote_code=trust_remote_code)
    return choose_replicas(machine, options, dimensions)


def _make_policy(
    options: EstimateOptions, model: Model, prompt_set: PromptSet, chat: Chat, context_length: int
) -> PolicyRecord:
    sampling = options.sampling
    return PolicyRecord(
        model=model.name,
        revision=model.revision,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
        max_model_len=context_length,
        dtype=options.engine.dtype,
        engine_args=arguments_of_policy(options.engine.engine_arg),
        template=prompt_set.template.name,
        system=options.prompts.system,
        chat_template=chat.template_sha256,
        chat_template_kwargs=dict(chat.template_kwargs),
        opens_thinking=chat.opens_thinking,
        tools=ToolsRecord.of(options.tools),
        chat_template_text=None if options.prompts.chat_template is None else chat.tokenizer.chat_template,
    )


def _make_manifest(
    options: EstimateOptions,
    policy: PolicyRecord,
    dataset: DatasetRecord,
    grader: GraderRecord,
    also: GraderRecord | None,
) -> Manifest:
    return Manifest(
        policy=policy,
        dataset=dataset,
        grader=grader,
        also=also,
        n=options.sampling.n,
        seed=options.sampling.seed,
        logprobs=options.sampling.logprobs,
        command=shlex.join(options.command),
        packages=package_versions(),
    )
