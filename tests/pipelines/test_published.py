"""Whose values they are: what makes published values another's, and what an update may change."""

from typing import Any

import pytest

from spo_data.hub.table_files import Tables
from spo_pipelines.overlap import Overlap, OwnPrompts, count_overlap
from spo_pipelines.published import Published, compare, describe_policy
from support.records import GRADER, make_manifest

OURS = make_manifest(n=8)
EDITED = {"dataset fingerprint": ("g", "f")}
NAMES = ("org/data (fingerprint g)", "org/data (fingerprint f)")
"""Two datasets of one name."""


def differ(
    prompts: int = 10, overlap: Overlap | None = None, **theirs: Any
) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """What differs from values of 10 prompts x 8."""
    return compare(make_manifest(**{"n": 8, **theirs}).provenance, prompts, OURS, 10, overlap)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"policy": {"temperature": 0.6}}, {"temperature": ("0.6", "1")}),
        ({"policy": {"top_k": 20, "max_tokens": 99}}, {"top_k": ("20", "-1"), "max_tokens": ("99", "9")}),
        ({"policy": {"revision": "older"}}, {"revision": ("older", "abc123")}),
        ({"policy": {"system": "Think."}}, {"system": ("Think.", "none")}),
        ({"policy": {"template": "retool"}}, {"template": ("retool", "boxed")}),
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
        (4, {"n": 2}, {"prompts": ("4", "10"), "n": ("2", "8")}),
        (12_000, {}, {"prompts": ("12,000", "10")}),
        (10, {"dataset": {"source": "/moved/data.jsonl"}}, {}),
        (10, {"policy": {"model": "/moved/model", "opens_thinking": None}}, {}),
        (10, {"seed": 3}, {"seed": ("3", "0")}),
        (10, {"grader": GRADER.model_copy(update={"verifier": "dapo"})}, {"verifier": ("dapo", "exact")}),
        (10, {"grader": GRADER.model_copy(update={"truncated": "grade"})}, {"truncated": ("grade", "zero")}),
    ],
)
def test_an_update_of_the_same_values_is_none_of_another_s(
    prompts: int, theirs: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert differ(prompts, **theirs) == ({}, expected)


@pytest.mark.parametrize(
    ("prompts", "overlap", "expected"),
    [
        (4, Overlap(common=4, without_value=0, new=6, gone=0), ({}, {"prompts": ("4", "10")})),
        (10, Overlap(common=9, without_value=0, new=1, gone=1), ({}, {"prompts": ("10", "10")})),
        (10, Overlap(common=10, without_value=0, new=0, gone=0), ({}, EDITED)),
        (2, Overlap(common=0, without_value=1, new=10, gone=1), ({}, {"prompts": ("2", "10")})),
        (2, Overlap(common=0, without_value=0, new=10, gone=2), ({"dataset": NAMES}, {"prompts": ("2", "10")})),
        (2, None, ({"dataset": NAMES}, {"prompts": ("2", "10")})),
        (0, Overlap(common=0, without_value=0, new=10, gone=0), ({"dataset": NAMES}, {"prompts": ("0", "10")})),
    ],
)
def test_of_two_datasets_of_one_name_the_prompts_tell_whether_they_are_one(
    prompts: int, overlap: Overlap | None, expected: Any
) -> None:
    """A run over another file with the same name replaced the published values, and was called an update of them."""
    assert differ(prompts, overlap, dataset={"fingerprint": "g"}) == expected


def test_values_without_a_row_are_of_the_same_dataset_if_it_is_the_same_commit_of_the_hub() -> None:
    none = Overlap(common=0, without_value=0, new=10, gone=0)
    theirs = make_manifest(n=8, dataset={"fingerprint": "g", "revision": "r"}).provenance
    for revision, is_same in (("r", True), ("s", False), (None, False)):
        ours = make_manifest(n=8, dataset={"revision": revision})
        differences, _ = compare(theirs, 0, ours, 10, none)
        assert ("dataset" not in differences) is is_same, revision


def test_the_prompts_of_both_sides_are_counted() -> None:
    overlap = count_overlap({"a", "b", "c", "d"}, OwnPrompts(frozenset("ax"), frozenset("by")))
    assert overlap == Overlap(common=1, without_value=1, new=1, gone=2)
    changes = {"n": ("2", "8"), "prompts": ("4", "2")}
    said = "n 2 → 8, prompts 4 → 2: 1 in common, 1 without a value here, 1 new, 2 gone"
    found = Published("same", {}, changes, overlap)
    assert found.describe() == f"values of the same policy and dataset ({said})"
    assert found.as_dict()["overlap"] == {"common": 1, "without_value": 1, "new": 1, "gone": 2}


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
