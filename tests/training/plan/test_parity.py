"""Comparing the values' policy with the rollout's: what is shown, what is refused, and what allows it."""

from dataclasses import replace
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.provenance import Completeness, GraderRecord, Provenance, ToolsRecord
from spo_data.values.schema import values_schema
from spo_data.values.table import ValueTable
from spo_train.data.value_coverage import Coverage
from spo_train.plan.parity import (
    FIELDS,
    ParityRow,
    RolloutPolicy,
    check_complete,
    compare_policies,
    list_unmatched,
    refuse_mismatches,
    rollout_defaults,
)
from support.records import make_manifest

COVERED = Coverage(30, 30, 30, 0, 0, {}, {}, {})
PARTLY = replace(COVERED, with_value=27, unused=3, reasons={"whitespace": 2, "not in the values": 1})
POLICY = {
    "model": "Qwen/Qwen3-8B",
    "revision": "abc123",
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "max_tokens": 512,
    "stop": ("</answer>",),
    "max_model_len": 4096,
    "template": "boxed",
    "system": "Be brief.",
    "chat_template": "sha",
    "chat_template_kwargs": {"enable_thinking": False},
}

VALUES = ValueTable(values_schema().empty_table(), "runs/qwen3-8b", command="spo-data estimate --out runs/qwen3-8b")
FINISHED = Completeness(prompts=1024, unfinished=0, without_value=3)
UNFINISHED = Completeness(prompts=1024, unfinished=612, without_value=0)

TOOLS = ToolsRecord(interpreter="python", max_turns=8, seconds=30.0, memory_mb=1024, output_chars=2000)


def provenance_of(grader: GraderRecord | None = None, **policy: Any) -> Provenance:
    more = {} if grader is None else {"grader": grader}
    return make_manifest(policy={**POLICY, **policy}, **more).provenance


def rollout_of(provenance: Provenance, **changed: Any) -> RolloutPolicy:
    """What `spo-train` trains with the values' defaults, and with the given changes."""
    defaults = rollout_defaults(provenance)
    policy = RolloutPolicy(
        model=str(defaults.model),
        revision=provenance.policy.revision,
        temperature=defaults.temperature,
        top_p=defaults.top_p,
        top_k=defaults.top_k,
        max_tokens=defaults.max_tokens,
        stop=defaults.stop,
        template=str(defaults.template),
        system=defaults.system,
        chat_template=provenance.policy.chat_template,
        chat_template_kwargs=defaults.chat_template_kwargs,
        tools=defaults.tools,
        verifier=defaults.verifier,
        verifier_version=provenance.grader.version,
    )
    return replace(policy, **changed)


def differing(rows: tuple[ParityRow, ...]) -> list[str]:
    return [row.field for row in rows if row.status == "differs"]


def test_training_from_values_with_no_further_options_is_parity() -> None:
    provenance = provenance_of()
    rows = compare_policies(provenance, rollout_of(provenance), COVERED)
    assert (*(row.field for row in rows), "complete") == FIELDS
    assert {row.status for row in rows} == {"same"}
    assert all(row.values == row.rollout for row in rows if row.field != "coverage")
    assert {row.remedy for row in rows} == {""}
    refuse_mismatches(rows, [])


DIFFERENCES: list[tuple[str, dict[str, Any], str, str]] = [
    ("revision", {"revision": "def456"}, "values: abc123; training: def456", "--model-revision abc123"),
    ("temperature", {"temperature": 1.0}, "values: 0.6; training: 1;", "actor_rollout_ref.rollout.temperature=0.6"),
    ("top_p", {"top_p": 1.0}, "values: 0.95; training: 1;", "actor_rollout_ref.rollout.top_p=0.95"),
    ("top_k", {"top_k": -1}, "values: 20; training: off;", "actor_rollout_ref.rollout.top_k=20"),
    ("max_tokens", {"max_tokens": 256}, "values: 512; training: 256;", "data.max_response_length=512"),
    ("max_tokens", {"max_tokens": 1024}, "values: 512; training: 1,024;", "data.max_response_length=512"),
    ("stop", {"stop": ()}, "values: '</answer>'; training: none;", "--stop '</answer>'"),
    ("template", {"template": "dapo"}, "training: dapo, system 'Be brief.'", "--template boxed --system 'Be brief.'"),
    ("template", {"system": None}, "values: boxed, system 'Be brief.'; training: boxed;", "--system 'Be brief.'"),
    ("chat_template", {"chat_template": "other"}, "training: other", "the model's earlier chat template"),
    (
        "chat_template",
        {"chat_template_kwargs": {}},
        'values: sha {"enable_thinking": false}; training: sha;',
        "--chat-template-kwargs '{\"enable_thinking\": false}'",
    ),
    (
        "tools",
        {"tools": TOOLS},
        "values: none; training: python (8 turns, 30 s, 1,024 MB, 2,000 characters)",
        "to make them equal: --tools none",
    ),
    ("truncated", {"truncated": "grade"}, "values: score 0; training: graded;", "--truncated zero"),
    ("verifier", {"verifier": "dapo"}, "values: exact (rules 1); training: dapo (rules 1)", "--verifier exact"),
    (
        "verifier",
        {"verifier_version": "rules 2"},
        "training: exact (rules 2)",
        "`spo-data regrade` with --verifier exact",
    ),
]


@pytest.mark.parametrize(("field", "changed", "shown", "remedy"), DIFFERENCES)
def test_each_difference_is_refused_with_both_values_and_allowed_by_its_name(
    field: str, changed: dict[str, Any], shown: str, remedy: str
) -> None:
    provenance = provenance_of()
    rows = compare_policies(provenance, rollout_of(provenance, **changed), COVERED)
    assert differing(rows) == [field]
    with pytest.raises(UserError) as refused:
        refuse_mismatches(rows, [name for name in FIELDS if name not in (field, "model")])
    assert f"{field} (values: " in str(refused.value)
    assert shown in str(refused.value)
    assert remedy in str(refused.value)
    assert str(refused.value).endswith(f"--allow-mismatch {field}")
    assert "\n" not in str(refused.value)
    refuse_mismatches(rows, [field])


@pytest.mark.parametrize(
    ("training", "remedy"),
    [
        (None, "--tools python)"),
        (TOOLS.model_copy(update={"max_turns": 4}), "--max-tool-turns 8)"),
        (
            TOOLS.model_copy(update={"seconds": 0.5, "memory_mb": 512, "output_chars": 99}),
            "--tool-seconds 30 --tool-memory-mb 1024 --tool-output-chars 2000)",
        ),
    ],
)
def test_other_tools_are_refused_with_the_options_that_differ(training: ToolsRecord | None, remedy: str) -> None:
    """If training has no tools, `--tools python` alone restores the values' limits."""
    provenance = provenance_of(tools=TOOLS)
    assert differing(compare_policies(provenance, rollout_of(provenance), COVERED)) == []
    rows = compare_policies(provenance, rollout_of(provenance, tools=training), COVERED)
    assert differing(rows) == ["tools"]
    with pytest.raises(UserError) as refused:
        refuse_mismatches(rows, [])
    assert f"to make them equal: {remedy}" in str(refused.value)


def test_another_model_is_refused_and_allowing_it_allows_its_revision() -> None:
    provenance = provenance_of()
    rows = compare_policies(provenance, rollout_of(provenance, model="Qwen/Qwen3-4B", revision="def456"), COVERED)
    assert differing(rows) == ["model", "revision"]
    with pytest.raises(UserError, match=r"--model Qwen/Qwen3-8B.*--allow-mismatch model --allow-mismatch revision"):
        refuse_mismatches(rows, [])
    with pytest.raises(UserError, match=r"model .values: Qwen/Qwen3-8B; training: Qwen/Qwen3-4B"):
        refuse_mismatches(rows, ["revision"])
    refuse_mismatches(rows, ["model"])


def test_prompts_without_a_value_are_refused_with_their_reasons() -> None:
    provenance = provenance_of()
    rows = compare_policies(provenance, rollout_of(provenance), PARTLY)
    assert differing(rows) == ["coverage"]
    expected = (
        r"30 prompts, 3 without a training prompt; training: 27 of 30 prompts have a value by prompt id \(the others:"
    )
    with pytest.raises(UserError, match=expected + " 2 whitespace, 1 not in the values"):
        refuse_mismatches(rows, [])
    refuse_mismatches(rows, ["coverage"])


def test_values_that_no_prompt_uses_are_refused_unless_allowed() -> None:
    """Training on part of the prompts makes no baseline wrong, but the files may be the wrong split."""
    provenance = provenance_of()
    rows = compare_policies(provenance, rollout_of(provenance), replace(COVERED, n_values=40, unused=10))
    assert differing(rows) == ["coverage"]
    assert rows[-1].values == "40 prompts, 10 without a training prompt"
    with pytest.raises(UserError, match="--allow-mismatch coverage"):
        refuse_mismatches(rows, [])
    refuse_mismatches(rows, ["coverage"])


def test_the_same_files_in_another_folder_are_not_another_model() -> None:
    provenance = provenance_of(model="/old/model", revision="sha256:1")
    rollout = rollout_of(provenance, model="/new/model")
    assert differing(compare_policies(provenance, rollout, COVERED)) == []
    changed = compare_policies(provenance, replace(rollout, model="/old/model", revision="sha256:2"), COVERED)
    assert differing(changed) == ["revision"], "a checkpoint that was overwritten in place"


def test_a_reward_function_is_known_by_its_content() -> None:
    provenance = provenance_of(GraderRecord(verifier="/old/reward.py:score", version="sha256:1"))
    rollout = rollout_of(provenance, verifier="/new/reward.py:score")
    assert differing(compare_policies(provenance, rollout, COVERED)) == []
    assert differing(compare_policies(provenance, replace(rollout, verifier_version="sha256:2"), COVERED)) == [
        "verifier"
    ]


@pytest.mark.parametrize(
    ("policy", "changed"),
    [
        ({"top_k": -1}, {"top_k": 0}),
        ({"stop": ("a", "b")}, {"stop": ("b", "a")}),
        ({"max_tokens": 16_384}, {"max_tokens": 4096}),
        ({"max_tokens": 16_384}, {"max_tokens": 16_384}),
        ({"dtype": "float32"}, {}),
    ],
    ids=["off is off", "any of them ends a response", "the context ends them", "as asked", "precision"],
)
def test_what_draws_the_same_samples_is_the_same(policy: dict[str, Any], changed: dict[str, Any]) -> None:
    provenance = provenance_of(**policy)
    assert differing(compare_policies(provenance, rollout_of(provenance, **changed), COVERED)) == []


def test_values_that_do_not_say_their_policy_are_unknown_and_pass() -> None:
    rows = compare_policies(None, rollout_of(provenance_of()), COVERED)
    assert [(row.values, row.status) for row in rows[:-1]] == [("unknown", "unknown")] * (len(FIELDS) - 2)
    assert rows[0].rollout == "Qwen/Qwen3-8B"
    refuse_mismatches(rows, [])
    uncovered = compare_policies(None, rollout_of(provenance_of()), PARTLY)
    assert differing(uncovered) == ["coverage"], "the join is known, whatever the policy"
    with pytest.raises(UserError, match="27 of 30 prompts"):
        refuse_mismatches(uncovered, [])


@pytest.mark.parametrize(
    ("name", "near"), [("temprature", "temperature"), ("max-tokens", "max_tokens"), ("x", "model, ")]
)
def test_a_field_that_is_none_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"--allow-mismatch {name}: no such field; did you mean {near}"):
        refuse_mismatches((), [name])


def test_defaults_follow_the_values() -> None:
    defaults = rollout_defaults(provenance_of(max_tokens=16_384))
    assert (defaults.model, defaults.model_revision) == ("Qwen/Qwen3-8B", "abc123")
    assert (defaults.temperature, defaults.top_p, defaults.top_k, defaults.stop) == (0.6, 0.95, 20, ("</answer>",))
    assert defaults.max_tokens == 4096, "more than the context cannot be drawn, and verl reserves memory for it"
    assert (defaults.template, defaults.system, defaults.verifier) == ("boxed", "Be brief.", "exact")
    folder = rollout_defaults(provenance_of(model="/models/mine", revision="sha256:0123"))
    assert (folder.model, folder.model_revision) == ("/models/mine", None), "a folder has no revision to load"


def test_defaults_of_unknown_values_are_the_training_policys() -> None:
    defaults = rollout_defaults(None)
    assert (defaults.temperature, defaults.top_p, defaults.top_k, defaults.max_tokens) == (1.0, 1.0, -1, 16_384)
    assert (defaults.model, defaults.template, defaults.verifier) == (None, None, "math-verify")


def test_precision_and_engine_arguments_are_shown() -> None:
    (shown,) = list_unmatched(provenance_of(dtype="bfloat16", engine_args={"quantization": "fp8"}))
    assert "dtype=bfloat16, quantization=fp8" in shown
    assert list_unmatched(None) == ("the values do not record the policy they belong to",)


@pytest.mark.parametrize(
    ("values", "shown", "status"),
    [
        (None, "unknown", "unknown"),
        (VALUES, "unknown", "unknown"),
        (replace(VALUES, completeness=FINISHED), "1,024 of 1,024 prompts finished, 0 unfinished", "same"),
        (replace(VALUES, completeness=UNFINISHED), "412 of 1,024 prompts finished, 612 unfinished", "differs"),
        (replace(VALUES, is_outdated=True), "unknown, but the last call of `spo-data estimate` has not", "differs"),
        (replace(VALUES, completeness=FINISHED, is_outdated=True), "1,024 of 1,024 prompts finished", "differs"),
    ],
)
def test_the_values_of_an_unfinished_run_differ_from_complete_ones(
    values: ValueTable | None, shown: str, status: str
) -> None:
    """spo-train took the values of a run that was stopped at a quarter without a word."""
    row = check_complete(values)
    assert (row.field, row.status) == ("complete", status)
    assert row.values.startswith(shown)
    if status != "differs":
        refuse_mismatches([row], [])
        return
    with pytest.raises(UserError, match=r"^values are missing: complete .*: `spo-data estimate --out runs/qwen3-8b`\)"):
        refuse_mismatches([row], [])
    refuse_mismatches([row], ["complete"])


def test_published_values_of_an_unfinished_run_name_the_finished_ones() -> None:
    published = replace(VALUES, completeness=UNFINISHED, command="", revision="abc")
    assert check_complete(published).remedy == "the values of the finished run"
