"""Whether the values are those of the policy that will be trained: the table that is shown before Ray starts.

    defaults = rollout_defaults(values.provenance)              # training from values with no further options
    rows = compare_policies(values.provenance, RolloutPolicy(...), data.coverage)
    refuse_mismatches(rows, allowed=["temperature"])

A baseline is the success probability of one policy. Each part of it that differs in training is a row that "differs"
and is refused unless it is allowed by its name; what the values do not say is "unknown" and passes. As within a run,
the same files in another folder are not another model, and a reward function is known by its content.

Precision and engine arguments of the estimate are in `list_unmatched`: engine and trainer never agree in them to the
last bit, and where they matter (a quantised model) is for the user to judge.
"""

import difflib
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spo_data.errors import UserError
from spo_data.options import Sampling
from spo_data.provenance import GraderRecord, PolicyRecord, Provenance, ToolsRecord, grader_differs
from spo_data.text import excerpt
from spo_train.data.training_rows import Coverage
from spo_train.plan.tool_options import suggest_options

FIELDS = (
    *("model", "revision", "temperature", "top_p", "top_k", "max_tokens", "stop", "template", "chat_template"),
    *("tools", "verifier", "coverage"),
)
"""The rows, in order; each can be allowed to differ."""
FOLDER_REVISION = "sha256:"
"""How the revision of a model that is a folder begins: a fingerprint, not a commit."""


@dataclass(frozen=True)
class RolloutPolicy:
    """What will be trained and how its responses are drawn and graded, in the terms of a values' manifest."""

    model: str
    """`Model.name` of the resolved model, and its revision."""
    revision: str
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    template: str
    """`TrainingData.template` and `system`."""
    system: str | None
    chat_template: str
    """`Chat.template_sha256` and the arguments."""
    chat_template_kwargs: Mapping[str, Any]
    tools: ToolsRecord | None
    verifier: str
    verifier_version: str


@dataclass(frozen=True)
class RolloutDefaults:
    """What to train with where the user asks for nothing else."""

    model: str | None
    """What to give `resolve_model`, with the revision; None where the values do not say."""
    model_revision: str | None
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    template: str | None
    """None for what `estimate` takes by default."""
    system: str | None
    chat_template_kwargs: Mapping[str, Any]
    tools: ToolsRecord | None
    verifier: str


@dataclass(frozen=True)
class ParityRow:
    """One part of the policy, in the values and in training."""

    field: str
    values: str
    """"unknown" where the values do not say."""
    rollout: str
    status: Literal["same", "differs", "unknown"]
    remedy: str = ""
    """What makes a difference go away."""


def rollout_defaults(provenance: Provenance | None) -> RolloutDefaults:
    """The policy of the values; for values that do not say, the defaults of `estimate`, which are training's."""
    if provenance is None:
        sampling = Sampling()
        return RolloutDefaults(
            model=None,
            model_revision=None,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop,
            template=None,
            system=None,
            chat_template_kwargs={},
            tools=None,
            verifier="math-verify",
        )
    policy = provenance.policy
    return RolloutDefaults(
        model=policy.model,
        model_revision=None if policy.revision.startswith(FOLDER_REVISION) else policy.revision,
        temperature=policy.temperature,
        top_p=policy.top_p,
        top_k=policy.top_k,
        max_tokens=min(policy.max_tokens, policy.max_model_len),
        stop=policy.stop,
        template=policy.template,
        system=policy.system,
        chat_template_kwargs=policy.chat_template_kwargs,
        tools=policy.tools,
        verifier=provenance.grader.verifier,
    )


def compare_policies(
    provenance: Provenance | None, rollout: RolloutPolicy, coverage: Coverage
) -> tuple[ParityRow, ...]:
    """One row a field, in the order of `FIELDS`."""
    grader = GraderRecord(verifier=rollout.verifier, version=rollout.verifier_version)
    if provenance is None:
        return (
            *(ParityRow(name, "unknown", shown, "unknown") for name, shown in _describe(rollout, grader).items()),
            _coverage(coverage),
        )
    policy = provenance.policy
    ours, theirs = _describe(policy, provenance.grader), _describe(rollout, grader)
    same = _same(policy, rollout) | {"verifier": not grader_differs(provenance.grader, grader)}
    remedies = _remedies(provenance, rollout)
    return (
        *(
            ParityRow(name, shown, theirs[name], "same")
            if same[name]
            else ParityRow(name, shown, theirs[name], "differs", remedies[name])
            for name, shown in ours.items()
        ),
        _coverage(coverage),
    )


def refuse_mismatches(rows: Sequence[ParityRow], allowed: Collection[str]) -> None:
    """Raise UserError where a row differs that is not allowed to, and where an allowed name is no field.

    Another model has other revisions: allowing the model allows its revision.
    """
    for name in allowed:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1) or FIELDS
            raise UserError(f"--allow-mismatch {name}: no such field; did you mean {', '.join(near)}?")
    passing = {*allowed, *(["revision"] if "model" in allowed else [])}
    refused = [row for row in rows if row.status == "differs" and row.field not in passing]
    if refused:
        differences = "; ".join(
            f"{row.field} (values: {row.values}; training: {row.rollout}; to make them equal: {row.remedy})"
            for row in refused
        )
        allow = " ".join(f"--allow-mismatch {row.field}" for row in refused)
        raise UserError(
            f"the values are not those of what would be trained: {differences}; to train all the same: {allow}"
        )


def list_unmatched(provenance: Provenance | None) -> tuple[str, ...]:
    """What the values' samples were drawn with and no row compares, one sentence each."""
    if provenance is None:
        return ("the values do not say what policy they belong to",)
    policy = provenance.policy
    extra = "".join(f", {name}={value}" for name, value in policy.engine_args.items())
    return (f"the values were sampled with dtype={policy.dtype}{extra}: engine arguments are shown, not compared",)


def _same(policy: PolicyRecord, rollout: RolloutPolicy) -> dict[str, bool]:
    """Whether the fields that are the policy's are equal."""
    same_files = policy.revision == rollout.revision
    return {
        "model": policy.model == rollout.model or same_files,
        "revision": same_files,
        "temperature": policy.temperature == rollout.temperature,
        "top_p": policy.top_p == rollout.top_p,
        "top_k": max(policy.top_k, 0) == max(rollout.top_k, 0),  # 0 and -1 are off
        "max_tokens": rollout.max_tokens in (policy.max_tokens, min(policy.max_tokens, policy.max_model_len)),
        "stop": set(policy.stop) == set(rollout.stop),
        "template": (policy.template, policy.system) == (rollout.template, rollout.system),
        "chat_template": (policy.chat_template, policy.chat_template_kwargs)
        == (rollout.chat_template, dict(rollout.chat_template_kwargs)),
        "tools": policy.tools == rollout.tools,
    }


def _describe(policy: PolicyRecord | RolloutPolicy, grader: GraderRecord) -> dict[str, str]:
    """Each field as text."""
    system = "" if policy.system is None else f", system {excerpt(policy.system, 40)!r}"
    is_cut = isinstance(policy, PolicyRecord) and policy.max_model_len < policy.max_tokens
    arguments = f" {_json(policy.chat_template_kwargs)}" if policy.chat_template_kwargs else ""
    return {
        "model": policy.model,
        "revision": policy.revision,
        "temperature": f"{policy.temperature:g}",
        "top_p": f"{policy.top_p:g}",
        "top_k": f"{policy.top_k}" if policy.top_k > 0 else "off",
        "max_tokens": f"{policy.max_tokens:,}" + (", or the context's end" if is_cut else ""),
        "stop": ", ".join(map(repr, policy.stop)) or "none",
        "template": f"{policy.template}{system}",
        "chat_template": f"{policy.chat_template}{arguments}",
        "tools": str(policy.tools or "none"),
        "verifier": f"{grader.verifier} ({grader.version})",
    }


def _remedies(provenance: Provenance, rollout: RolloutPolicy) -> dict[str, str]:
    """For each field, what a user can do about a difference."""
    policy, grader = provenance.policy, provenance.grader
    defaults = rollout_defaults(provenance)
    commit = defaults.model_revision
    is_version = grader.identity == GraderRecord(verifier=rollout.verifier, version="").identity
    system = "" if policy.system is None else f" --system {shlex.quote(policy.system)}"
    is_arguments = policy.chat_template == rollout.chat_template
    return {
        "model": f"--model {policy.model}",
        "revision": f"--model-revision {commit}" if commit else f"the files that {policy.model} had, or other values",
        **{
            name: f"actor_rollout_ref.rollout.{name}={getattr(policy, name):g}"
            for name in ("temperature", "top_p", "top_k")
        },
        "max_tokens": f"data.max_response_length={defaults.max_tokens}",
        "stop": " ".join(f"--stop {shlex.quote(stop)}" for stop in policy.stop) or "no --stop",
        "template": f"--template {policy.template.partition('@')[0]}{system}",
        "chat_template": f"--chat-template-kwargs {shlex.quote(_json(policy.chat_template_kwargs))}"
        if is_arguments
        else "the chat template that the model had, or values of this one",
        "tools": suggest_options(policy.tools, rollout.tools),
        "verifier": f"`spo-data regrade` with --verifier {rollout.verifier}"
        if is_version
        else f"--verifier {grader.verifier}",
    }


def _coverage(coverage: Coverage) -> ParityRow:
    missing = ", ".join(f"{count:,} {reason}" for reason, count in coverage.reasons.items())
    return ParityRow(
        "coverage",
        f"{coverage.n_values:,} prompts" + (f", {coverage.unused:,} of no training prompt" if coverage.unused else ""),
        f"{coverage.with_value:,} of {coverage.prompts:,} prompts have a value by {coverage.joined_by}"
        + (f" (the others: {missing})" if missing else ""),
        "differs" if coverage.without_value or coverage.unused else "same",
        "`spo-data join` names the prompts" if coverage.without_value or coverage.unused else "",
    )


def _json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)
