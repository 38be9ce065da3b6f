"""`run.json`: what a run's values belong to."""

import json
from pathlib import Path
from typing import Any

import pytest

from spo_data.errors import UserError
from spo_data.provenance import SCHEMA_VERSION, DatasetRecord, GraderRecord, PolicyRecord
from spo_data.run.manifest import Counts, Manifest, Timings, package_versions, policy_differences, read_manifest

POLICY = PolicyRecord(
    model="Qwen/Qwen3-8B",
    revision="abc",
    temperature=0.7,
    top_p=0.1,
    top_k=-1,
    max_tokens=16384,
    stop=("</answer>", "\n\0"),
    max_model_len=40960,
    dtype="auto",
    engine_args={"hf_overrides": {"rope_scaling": [1, 2.5, None]}, "quantization": "fp8"},
    template="boxed",
    system="Sei knapp: é🙂",
    chat_template="0123",
    chat_template_kwargs={},
    opens_thinking=False,
)
MANIFEST = Manifest(
    policy=POLICY,
    dataset=DatasetRecord(
        source="org/name",
        config="en",
        split="train",
        revision="def",
        layout="dapo",
        rows=10,
        duplicates=2,
        fingerprint="f",
    ),
    grader=GraderRecord(verifier="math-verify", version="math-verify 0.9.0 rules 1"),
    n=8,
    seed=2**62,
    logprobs=False,
    command="spo-data estimate --out 'a b'",
    packages={"vllm": "0.24.0"},
    counts=Counts(
        dropped={"empty_prompt": 1},
        prompts=7,
        unfinished=0,
        without_value=0,
        samples=56,
        verdicts={"correct": 56},
        engine_failures=0,
        not_valid=0,
        not_drawn=0,
    ),
    timings=Timings(sampling_seconds=1.5, sampled=56, sampled_tokens=999),
)


def test_a_manifest_reads_back_as_it_was_written_and_leaves_no_other_file(tmp_path: Path) -> None:
    MANIFEST.model_copy(update={"n": 4}).write(tmp_path)
    MANIFEST.write(tmp_path)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["schema_version"] == SCHEMA_VERSION


def test_a_folder_without_run_json_has_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "absent") is None


OTHER: dict[str, Any] = {
    "model": "Qwen/Qwen3-4B",
    "revision": "abd",
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 20,
    "max_tokens": 8192,
    "stop": ("</answer>",),
    "max_model_len": 32768,
    "dtype": "float32",
    "engine_args": {},
    "template": "none",
    "system": None,
    "chat_template": "4567",
    "chat_template_kwargs": {"enable_thinking": False},
    "opens_thinking": True,
    "tools": "retool",
}


@pytest.mark.parametrize("field", sorted(set(PolicyRecord.model_fields) - {"model", "chat_template_text"}))
def test_every_field_of_the_policy_is_a_difference_with_its_name_and_both_values(field: str) -> None:
    other = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={field: OTHER[field]})})
    assert policy_differences(MANIFEST, other) == {field: (getattr(POLICY, field), OTHER[field])}


def test_a_model_is_another_one_by_its_files_and_not_by_where_they_lie() -> None:
    moved = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={"model": "/elsewhere"})})
    other = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={"model": "/elsewhere", "revision": "x"})})
    assert policy_differences(MANIFEST, moved) == {}
    assert set(policy_differences(MANIFEST, other)) == {"model", "revision"}


def test_a_chat_template_is_compared_by_its_checksum_wherever_its_text_comes_from() -> None:
    other = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={"chat_template_text": "{{ messages }}"})})
    assert policy_differences(MANIFEST, other) == {}


def test_an_engine_argument_that_changes_only_speed_is_no_difference_in_earlier_records_either() -> None:
    """A run that began with `--engine-arg watermark=0.1` was refused without it."""
    recorded = {**POLICY.engine_args, "watermark": 0.1, "cudagraph_capture_sizes": [1, 2]}
    earlier = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={"engine_args": recorded})})
    assert policy_differences(earlier, MANIFEST) == policy_differences(MANIFEST, earlier) == {}
    other = MANIFEST.model_copy(update={"policy": POLICY.model_copy(update={"engine_args": {}})})
    assert policy_differences(earlier, other) == {"engine_args": (POLICY.engine_args, {})}


@pytest.mark.parametrize(("field", "value"), [("verifier", "exact"), ("version", "rules 2"), ("truncated", "grade")])
def test_another_grader_is_a_difference(field: str, value: str) -> None:
    other = MANIFEST.model_copy(update={"grader": MANIFEST.grader.model_copy(update={field: value})})
    assert policy_differences(MANIFEST, other) == {field: (getattr(MANIFEST.grader, field), value)}


@pytest.mark.parametrize(("field", "value"), [("seed", 1), ("logprobs", True)])
def test_another_seed_or_log_probs_are_a_difference(field: str, value: Any) -> None:
    other = MANIFEST.model_copy(update={field: value})
    assert policy_differences(MANIFEST, other) == {field: (getattr(MANIFEST, field), value)}


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 16), ("command", "x"), ("packages", {}), ("counts", None), ("timings", Timings(sampled=1))],
)
def test_an_account_is_no_difference(field: str, value: Any) -> None:
    assert policy_differences(MANIFEST, MANIFEST.model_copy(update={field: value})) == {}


def test_several_differences_are_all_named(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    read = read_manifest(tmp_path)
    assert read is not None
    policy = POLICY.model_copy(update={"temperature": 1.0, "stop": ()})
    other = MANIFEST.model_copy(update={"policy": policy, "seed": 3})
    assert list(policy_differences(read, other)) == ["temperature", "stop", "seed"]


def _changed(**fields: Any) -> str:
    return json.dumps({**json.loads(MANIFEST.model_dump_json()), **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a run manifest: Invalid JSON"),
        ("{", "is not a run manifest: Invalid JSON"),
        ("\xff\xfe", "is not a run manifest"),
        ("[]", "is not a run manifest"),
        ("{}", "is not a run manifest: schema_version: Field required"),
        (_changed(n="many"), "is not a run manifest: n: "),
        (_changed(n=10**20), "is not a run manifest: n: "),
        (_changed(policy={}), "is not a run manifest: policy.model: Field required"),
        (_changed(surprise=1), "is not a run manifest: surprise: "),
        (
            _changed(schema_version=SCHEMA_VERSION + 1),
            f"has schema version {SCHEMA_VERSION + 1}, but this spo-data reads",
        ),
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_one_line_error_naming_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as raised:
        read_manifest(tmp_path)
    assert message in str(raised.value)
    assert str(tmp_path / "run.json") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_newer_manifest_is_called_newer_although_it_has_fields_we_do_not_know(tmp_path: Path) -> None:
    """The fields were checked before the version, so a newer run was refused as "not a run manifest"."""
    (tmp_path / "run.json").write_text(_changed(schema_version=SCHEMA_VERSION + 1, surprise=1), encoding="utf-8")
    with pytest.raises(UserError, match=f"has schema version {SCHEMA_VERSION + 1}"):
        read_manifest(tmp_path)


def test_a_run_from_before_truncated_responses_could_be_graded_scores_them_0(tmp_path: Path) -> None:
    old = json.loads(_changed(schema_version=4))
    del old["grader"]["truncated"], old["policy"]["chat_template_text"]
    (tmp_path / "run.json").write_text(json.dumps(old), encoding="utf-8")
    read = read_manifest(tmp_path)
    assert read is not None
    assert policy_differences(read, MANIFEST) == {}
    graded = MANIFEST.model_copy(update={"grader": MANIFEST.grader.model_copy(update={"truncated": "grade"})})
    assert policy_differences(read, graded) == {"truncated": ("zero", "grade")}


def test_the_versions_of_installed_packages_are_recorded_and_absent_ones_left_out() -> None:
    versions = package_versions()
    assert versions["math-verify"].startswith("0.9")
    assert all(versions.values())
    assert "spo-data" in versions
