"""Everything about an estimate that is known before an engine starts.

    plan = await make_plan(options, read_prompts(options), pool)
    plan.prompt_set.dropped_by_reason(), plan.token_bound, plan.preview

Prompts are read, worded, deduplicated, rendered and measured, and their ground truths are checked against themselves,
all before a GPU is touched. A prompt that leaves no room for a response is dropped and counted, never fatal.
"""

import asyncio
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spo_data.chat import Chat, load_chat
from spo_data.dataset_rows import Rows, load_rows
from spo_data.engine import SampleRequest
from spo_data.errors import UserError
from spo_data.grading.pool import GradeJob, GraderPool
from spo_data.grading.verdict import Graded, Verdict
from spo_data.grading.verifiers import is_number, load_verifier, verifier_version
from spo_data.manifest import DatasetRecord, GraderRecord, Manifest, PolicyRecord, package_versions
from spo_data.model import Model, resolve_model
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling
from spo_data.prompt import Prompt, sample_seed
from spo_data.prompt_set import Dropped, PromptSet, build_prompt_set

# Engine arguments that change how fast samples are drawn, not which: any other is part of the policy.
SPEED_ENGINE_ARGS = frozenset(
    {
        *("async_scheduling", "attention_backend", "block_size", "compilation_config", "cpu_offload_gb"),
        *("data_parallel_backend", "data_parallel_size", "disable_cascade_attn", "disable_custom_all_reduce"),
        *("disable_log_stats", "distributed_executor_backend", "download_dir", "enable_chunked_prefill"),
        *("enable_expert_parallel", "enable_prefix_caching", "kv_cache_memory_bytes"),
        *("max_num_batched_tokens", "max_num_partial_prefills", "num_gpu_blocks_override", "optimization_level"),
        *("pipeline_parallel_size", "scheduling_policy", "swap_space", "trust_remote_code"),
    }
)


@dataclass(frozen=True)
class EstimateOptions:
    """One estimate, as the user asked for it."""

    model: str
    out: Path
    prompts: PromptOptions
    sampling: Sampling = field(default_factory=Sampling)
    engine: EngineOptions = field(default_factory=EngineOptions)
    grader: GraderOptions = field(default_factory=GraderOptions)
    model_revision: str | None = None
    command: tuple[str, ...] = ()
    """The command line, for the manifest and for refusals that print the right one."""


@dataclass(frozen=True)
class Plan:
    """What an estimate will do."""

    options: EstimateOptions
    model: Model
    prompt_set: PromptSet
    token_ids: Mapping[str, np.ndarray]
    """The rendered prompt's token ids by prompt id, int32."""
    context_length: int
    preview: str
    """One rendered prompt, as the model reads it."""
    manifest: Manifest

    @property
    def engine_length(self) -> int:
        """The longest sequence that the engine will see: what it must reserve memory for."""
        return max(len(ids) + self.max_tokens(prompt_id) for prompt_id, ids in self.token_ids.items())

    @property
    def n_samples(self) -> int:
        """Samples of the whole run, those already drawn included."""
        return len(self.prompt_set.prompts) * self.options.sampling.n

    @property
    def token_bound(self) -> int:
        """Response tokens at most, for the whole run."""
        return self.options.sampling.n * sum(self.max_tokens(prompt_id) for prompt_id in self.token_ids)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of a dry run."""
        return {
            "rows": self.prompt_set.n_rows,
            "duplicates": self.prompt_set.n_duplicates,
            "dropped": self.prompt_set.dropped_by_reason(),
            "prompts": len(self.prompt_set.prompts),
            "samples": self.n_samples,
            "token_bound": self.token_bound,
            "manifest": self.manifest.model_dump(mode="json"),
        }

    def max_tokens(self, prompt_id: str) -> int:
        """Response tokens that the sampling options and the context leave to a prompt."""
        return min(self.options.sampling.max_tokens, self.context_length - len(self.token_ids[prompt_id]))

    def requests(self, done: Mapping[str, set[int]]) -> Iterator[SampleRequest]:
        """The samples that are not there yet, lazily, in prompt order."""
        for prompt in self.prompt_set.prompts:
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


@dataclass(frozen=True)
class PromptsRead:
    """The dataset as it was read, before a model looks at it."""

    rows: Rows
    prompt_set: PromptSet
    grader: GraderRecord
    """The verifier asked for, or the default for these ground truths."""


def read_prompts(options: EstimateOptions, begun_with: str | None = None) -> PromptsRead:
    """Read and word the prompts; raises UserError for everything that is wrong with the dataset.

    `begun_with` is the verifier of the run that is there: it stays the default when more prompts come in.
    """
    wanted = options.prompts
    if options.grader.verifier is not None:
        load_verifier(options.grader.verifier)
    rows = load_rows(wanted.dataset, config=wanted.dataset_config, split=wanted.split, revision=wanted.revision)
    prompt_set = build_prompt_set(
        rows,
        template=wanted.template,
        system=wanted.system,
        prompt_column=wanted.prompt_column,
        answer_column=wanted.answer_column,
        limit=wanted.limit,
        shuffle_seed=wanted.shuffle_seed,
    )
    verifier = options.grader.verifier or begun_with or _default_verifier(prompt_set)
    return PromptsRead(rows, prompt_set, GraderRecord(verifier=verifier, version=verifier_version(verifier)))


def _default_verifier(prompt_set: PromptSet) -> str:
    """math-verify, but a generated problem that asks for more than a number may have answers that only it can judge."""
    generated = any(prompt.task is not None for prompt in prompt_set.prompts)
    if generated and not all(is_number(prompt.ground_truth) for prompt in prompt_set.prompts):
        return "reasoning-gym"
    return "math-verify"


async def make_plan(
    options: EstimateOptions,
    read: PromptsRead,
    pool: GraderPool,
    trusted: Collection[tuple[str, str]] = frozenset(),
) -> Plan:
    """Check and measure the prompts; `trusted` are (prompt id, ground truth) pairs that were checked before.

    Raises UserError for everything that is wrong with what the user asked for.
    """
    wanted, rows, prompt_set = options.prompts, read.rows, read.prompt_set
    model = resolve_model(options.model, options.model_revision)
    trust_remote_code = bool(options.engine.engine_arg.get("trust_remote_code", False))
    chat = load_chat(model, wanted.chat_template_kwargs, trust_remote_code=trust_remote_code)
    context_length = options.engine.max_model_len or chat.context_length
    prompt_set = prompt_set.without(await _unverifiable(prompt_set, pool, trusted))
    token_ids = _tokenized(prompt_set.prompts, chat)
    prompt_set = prompt_set.without(_too_long(prompt_set, token_ids, context_length))
    if not prompt_set.prompts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in prompt_set.dropped_by_reason().items())
        raise UserError(f"--dataset {wanted.dataset}: no prompt is left to sample ({reasons})")
    kept = {prompt.prompt_id: token_ids[prompt.prompt_id] for prompt in prompt_set.prompts}
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
    return Plan(
        options=options,
        model=model,
        prompt_set=prompt_set,
        token_ids=kept,
        context_length=context_length,
        preview=chat.render(prompt_set.prompts[0].messages),
        manifest=_manifest(options, _policy(options, model, prompt_set, chat, context_length), dataset, read.grader),
    )


async def _unverifiable(prompt_set: PromptSet, pool: GraderPool, trusted: Collection[tuple[str, str]]) -> list[Dropped]:
    """The prompts whose ground truth does not verify against itself: any verdict on them would be false."""
    numbered = [
        (prompt, row)
        for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
        if (prompt.prompt_id, prompt.ground_truth) not in trusted
    ]
    dropped = []
    for start in range(0, len(numbered), 1024):
        batch = numbered[start : start + 1024]
        checks = await asyncio.gather(*(_gold_checked(prompt, pool) for prompt, _ in batch))
        dropped += [
            Dropped(row, str(graded.verdict), graded.detail or "")
            for (_, row), graded in zip(batch, checks, strict=True)
            if graded.verdict is not Verdict.CORRECT
        ]
    return dropped


async def _gold_checked(prompt: Prompt, pool: GraderPool) -> Graded:
    job = GradeJob(None, prompt.ground_truth, prompt.task)
    graded = await pool.grade(job)
    if graded.verdict in (Verdict.GRADER_TIMEOUT, Verdict.GRADER_ERROR):
        return await pool.grade(job)  # that was our failure, and may pass
    return graded


def _tokenized(prompts: Sequence[Prompt], chat: Chat) -> dict[str, np.ndarray]:
    token_ids = chat.tokenize(prompt.messages for prompt in prompts)
    return {prompt.prompt_id: ids for prompt, ids in zip(prompts, token_ids, strict=True)}


def _too_long(prompt_set: PromptSet, token_ids: Mapping[str, np.ndarray], context_length: int) -> list[Dropped]:
    lengths = (
        (row, len(token_ids[prompt.prompt_id])) for prompt, row in zip(prompt_set.prompts, prompt_set.rows, strict=True)
    )
    return [
        Dropped(row, "prompt_too_long", f"{length} tokens leave no room in a context of {context_length}")
        for row, length in lengths
        if length >= context_length
    ]


def _policy(
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
        engine_args={key: value for key, value in options.engine.engine_arg.items() if key not in SPEED_ENGINE_ARGS},
        template=prompt_set.template.name,
        system=options.prompts.system,
        chat_template=chat.template_sha256,
        chat_template_kwargs=dict(chat.template_kwargs),
    )


def _manifest(options: EstimateOptions, policy: PolicyRecord, dataset: DatasetRecord, grader: GraderRecord) -> Manifest:
    return Manifest(
        policy=policy,
        dataset=dataset,
        grader=grader,
        n=options.sampling.n,
        seed=options.sampling.seed,
        logprobs=options.sampling.logprobs,
        command=shlex.join(options.command),
        packages=package_versions(),
    )
