"""Whether the values belong to the policy that will be trained: the table that is shown before Ray starts.

    defaults = rollout_defaults(values.provenance)              # training from values with no further options
    rows = compare_policies(values.provenance, RolloutPolicy(...), data.coverage)
    refuse_mismatches(rows, allowed=["temperature"])

A baseline is the success probability of one policy. Each part of the policy is a row. A row that "differs" is refused
unless it is allowed by name; a row that the values do not record is "unknown" and passes. As in estimates, the same
files in another folder are the same model, and a reward function is identified by its content.

`list_unmatched` names precision and engine arguments of the estimate. Engine and trainer never agree in these to the
last bit, so the user judges whether they matter (a quantised model).
"""

import difflib
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spo_data.errors import UserError
from spo_data.options import Sampling, Truncated
from spo_data.provenance import GraderRecord, PolicyRecord, Provenance, ToolsRecord, grader_differs
from spo_data.text import excerpt
from spo_data.values.table import ValueTable
from spo_train.config.keys import RESPONSE_TOKENS_KEY, ROLLOUT
from spo_train.data.value_coverage import Coverage
from spo_train.plan.tool_options import suggest_options

FIELDS = (
    *("model", "revision", "temperature", "top_p", "top_k", "max_tokens", "stop", "template", "chat_template"),
    *("tools", "verifier", "truncated", "coverage", "complete"),
)
"""The rows, in order; the user can allow each of them to differ."""
FOLDER_REVISION = "sha256:"
"""How the revision of a local model begins: a fingerprint of its files, not a commit."""


@dataclass(frozen=True)
class RolloutPolicy:
    """The policy that will be trained, in the terms of a values' manifest."""

    model: str
    """`Model.name` of the resolved model."""
    revision: str
    """`Model.revision` of the resolved model."""
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    template: str
    """`TrainingData.template`."""
    system: str | None
    """`TrainingData.system`."""
    chat_template: str
    """`Chat.template_sha256`."""
    chat_template_kwargs: Mapping[str, Any]
    tools: ToolsRecord | None
    verifier: str
    verifier_version: str
    truncated: Truncated = "zero"


@dataclass(frozen=True)
class RolloutDefaults:
    """The policy to train unless the user asks for another."""

    model: str | None
    """For `resolve_model`, with the revision; None if the values do not record it."""
    model_revision: str | None
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    template: str | None
    """None for the default of `estimate`."""
    system: str | None
    chat_template_kwargs: Mapping[str, Any]
    tools: ToolsRecord | None
    verifier: str
    truncated: Truncated = "zero"
    chat_template_text: str | None = None
    """None for the model's own chat template."""


@dataclass(frozen=True)
class ParityRow:
    """One part of the policy: in the values and in training."""

    field: str
    values: str
    """"unknown" if the values do not record it."""
    rollout: str
    status: Literal["same", "differs", "unknown"]
    remedy: str = ""
    """What removes the difference."""


def rollout_defaults(provenance: Provenance | None) -> RolloutDefaults:
    """Return the policy of the values; for values without a record, the defaults of `estimate`."""
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
        truncated=provenance.grader.truncated,
        chat_template_text=policy.chat_template_text,
    )


def compare_policies(
    provenance: Provenance | None, rollout: RolloutPolicy, coverage: Coverage
) -> tuple[ParityRow, ...]:
    """Return one row per field but `complete`, in the order of `FIELDS`."""
    grader = GraderRecord(verifier=rollout.verifier, version=rollout.verifier_version, truncated=rollout.truncated)
    if provenance is None:
        return (
            *(ParityRow(name, "unknown", shown, "unknown") for name, shown in _describe(rollout, grader).items()),
            _make_coverage_row(coverage),
        )
    policy = provenance.policy
    ours, theirs = _describe(policy, provenance.grader), _describe(rollout, grader)
    alike = grader.model_copy(update={"truncated": provenance.grader.truncated})  # which has a row of its own
    same = _compare_fields(policy, rollout) | {
        "verifier": not grader_differs(provenance.grader, alike),
        "truncated": provenance.grader.truncated == rollout.truncated,
    }
    remedies = _suggest_remedies(provenance, rollout)
    return (
        *(
            ParityRow(name, shown, theirs[name], "same")
            if same[name]
            else ParityRow(name, shown, theirs[name], "differs", remedies[name])
            for name, shown in ours.items()
        ),
        _make_coverage_row(coverage),
    )


def check_complete(values: ValueTable | None) -> ParityRow:
    """Return the row of how many prompts of the values' run are finished.

    The finished prompts of a run that stopped early lean towards short responses, and so towards high values.
    """
    shown, counts = "unknown", None if values is None else values.completeness
    if counts is not None:
        shown = f"{counts.finished:,} of {counts.prompts:,} prompts finished, {counts.unfinished:,} unfinished"
    if values is None or not values.gap:
        return ParityRow("complete", shown, "every prompt finished", "unknown" if counts is None else "same")
    shown += ", but the last call of `spo-data estimate` has not ended" if values.is_outdated else ""
    remedy = f"`{values.command}`" if values.command else "the values of the finished run"
    return ParityRow("complete", shown, "every prompt finished", "differs", remedy)


def refuse_mismatches(rows: Sequence[ParityRow], allowed: Collection[str]) -> None:
    """Raise UserError if a row differs that may not, or if an allowed name is not a field.

    Allowing another model allows its revision too.
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
        is_policy = {row.field for row in refused} - {"coverage", "complete"}
        what = "the values belong to a different policy" if is_policy else "values are missing"
        raise UserError(f"{what}: {differences}; to train anyway: {allow}")


def list_unmatched(provenance: Provenance | None) -> tuple[str, ...]:
    """Return notes on how the values were sampled that no row compares, one sentence each."""
    if provenance is None:
        return ("the values do not record the policy they belong to",)
    policy = provenance.policy
    extra = "".join(f", {name}={value}" for name, value in policy.engine_args.items())
    return (f"the values were sampled with dtype={policy.dtype}{extra}: engine arguments are shown, not compared",)


def _compare_fields(policy: PolicyRecord, rollout: RolloutPolicy) -> dict[str, bool]:
    """Whether each field of the policy is equal."""
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
    """Return each field as text."""
    system = "" if policy.system is None else f", system {excerpt(policy.system, 40)!r}"
    is_cut = isinstance(policy, PolicyRecord) and policy.max_model_len < policy.max_tokens
    arguments = f" {_to_json(policy.chat_template_kwargs)}" if policy.chat_template_kwargs else ""
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
        "truncated": {"zero": "score 0", "grade": "graded"}[grader.truncated],
    }


def _suggest_remedies(provenance: Provenance, rollout: RolloutPolicy) -> dict[str, str]:
    """Return what removes a difference, for each field."""
    policy, grader = provenance.policy, provenance.grader
    defaults = rollout_defaults(provenance)
    commit = defaults.model_revision
    is_version = grader.identity == GraderRecord(verifier=rollout.verifier, version="").identity
    system = "" if policy.system is None else f" --system {shlex.quote(policy.system)}"
    is_arguments = policy.chat_template == rollout.chat_template
    return {
        "model": f"--model {policy.model}",
        "revision": f"--model-revision {commit}" if commit else f"the files that {policy.model} had, or other values",
        **{name: f"{ROLLOUT}.{name}={getattr(policy, name):g}" for name in ("temperature", "top_p", "top_k")},
        "max_tokens": f"{RESPONSE_TOKENS_KEY}={defaults.max_tokens}",
        "stop": " ".join(f"--stop {shlex.quote(stop)}" for stop in policy.stop) or "no --stop",
        "template": f"--template {policy.template.partition('@')[0]}{system}",
        "chat_template": f"--chat-template-kwargs {shlex.quote(_to_json(policy.chat_template_kwargs))}"
        if is_arguments
        else "no --chat-template"
        if policy.chat_template_text is not None
        else "the model's earlier chat template, without --chat-template, or values for this one",
        "tools": suggest_options(policy.tools, rollout.tools),
        "verifier": f"`spo-data regrade` with --verifier {rollout.verifier}"
        if is_version
        else f"--verifier {grader.verifier}",
        "truncated": f"--truncated {grader.truncated}",
    }


def _make_coverage_row(coverage: Coverage) -> ParityRow:
    missing = ", ".join(f"{count:,} {reason}" for reason, count in coverage.reasons.items())
    return ParityRow(
        "coverage",
        f"{coverage.n_values:,} prompts"
        + (f", {coverage.unused:,} without a training prompt" if coverage.unused else ""),
        f"{coverage.with_value:,} of {coverage.prompts:,} prompts have a value by {coverage.joined_by}"
        + (f" (the others: {missing})" if missing else ""),
        "differs" if coverage.without_value or coverage.unused else "same",
        "`spo-data join` lists the prompts" if coverage.without_value or coverage.unused else "",
    )


def _to_json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)
