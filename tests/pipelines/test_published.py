"""Whose values they are: what makes published values another's, and what an update may change."""

from typing import Any

import pytest

from spo_data.hub.table_files import Tables
from spo_pipelines.published import Published, compare, describe_policy
from support.records import GRADER, make_manifest

OURS = make_manifest(n=8)
EDITED = {"dataset fingerprint": ("g", "f")}


def differ(prompts: int = 10, **theirs: Any) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """What differs from values of 10 prompts x 8."""
    return compare(make_manifest(**{"n": 8, **theirs}).provenance, prompts, OURS, 10)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"policy": {"temperature": 0.6}}, {"temperature": ("0.6", "1")}),
        ({"policy": {"top_k": 20, "max_tokens": 99}}, {"top_k": ("20", "-1"), "max_tokens": ("99", "9")}),
        ({"policy": {"revision": "older"}}, {"revision": ("older", "abc123")}),
        ({"policy": {"system": "Think."}}, {"system": ("Think.", "none")}),
        ({"policy": {"template": "retool"}}, {"template": ("retool", "boxed")}),
        ({"grader": GRADER.model_copy(update={"truncated": "grade"})}, {"truncated": ("grade", "zero")}),
        ({"dataset": {"source": "org/more", "fingerprint": "g"}}, {"dataset": ("org/more", "org/data")}),
        ({"dataset": {"config": "en", "fingerprint": "g"}}, {"dataset": ("org/data, en", "org/data")}),
    ],
)
def test_another_policy_or_dataset_makes_values_another_s(theirs: dict[str, Any], expected: dict[str, Any]) -> None:
    assert differ(**theirs) == (expected, {})


@pytest.mark.parametrize(
    ("prompts", "theirs", "expected"),
    [
        (10, {}, {}),
        (4, {"n": 2, "dataset": {"fingerprint": "g"}}, {"prompts": ("4", "10"), "n": ("2", "8")}),
        (12_000, {"dataset": {"fingerprint": "g"}}, {"prompts": ("12,000", "10")}),
        (10, {"dataset": {"fingerprint": "g"}}, EDITED),
        (
            4,
            {"dataset": {"fingerprint": "g", "revision": "r"}},
            {"dataset revision": ("r", "none"), "prompts": ("4", "10")},
        ),
        (10, {"dataset": {"source": "/moved/data.jsonl"}}, {}),
        (10, {"policy": {"model": "/moved/model", "opens_thinking": None}}, {}),
        (10, {"seed": 3}, {"seed": ("3", "0")}),
        (10, {"grader": GRADER.model_copy(update={"verifier": "dapo"})}, {"verifier": ("dapo", "exact")}),
    ],
)
def test_an_update_of_the_same_values_is_none_of_another_s(
    prompts: int, theirs: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert differ(prompts, **theirs) == ({}, expected)


def test_what_is_there_is_one_line_that_names_both_sides() -> None:
    both = {"temperature": ("0.6", "1"), "dataset": ("a", "b")}
    found = Published("other_values", both, {"n": ("2", "8")})
    assert found.describe() == "values of another policy and dataset (temperature 0.6 → 1, dataset a → b, n 2 → 8)"
    tables = Published("other_dataset", configs=("en",), tables=Tables(tuple(f"{k}.csv" for k in range(7))))
    assert tables.describe() == (
        "tables that record no policy (config en; 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 2 more)"
    )
    assert describe_policy(make_manifest({"top_k": 20, "system": "Think."}).policy) == (
        "temperature 1, top_p 1, top_k 20, max_tokens 9, template boxed, system prompt 'Think.', tools none"
    )
