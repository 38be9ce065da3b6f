"""What tells a Hub id from a path."""

import pytest

from spo_data.formats.readers.sources import DATA_SUFFIXES
from spo_data.hub.ids import find_id_fault, may_be_id
from spo_data.prompts.rows import FILE_FORMATS


@pytest.mark.parametrize("name", ["./org/name", "/org/name", "~/name", "a/b/c", "org/name.parquet", "org/name.json"])
def test_a_name_that_can_only_be_a_path_is_no_id(name: str) -> None:
    assert not may_be_id(name, DATA_SUFFIXES)
    assert not may_be_id(name, FILE_FORMATS, needs_owner=False)


def test_a_dataset_without_an_owner_is_an_id_only_for_prompts() -> None:
    """The Hub's first datasets have no owner, such as gsm8k; values were never published without one."""
    assert may_be_id("gsm8k", FILE_FORMATS, needs_owner=False)
    assert not may_be_id("gsm8k", DATA_SUFFIXES)
    assert may_be_id("org/name", DATA_SUFFIXES)


def test_only_suffixes_that_the_caller_reads_make_a_path() -> None:
    """One list of suffixes for all callers made `org/name.csv` a path for values, which are never read from csv."""
    assert may_be_id("org/name.csv", DATA_SUFFIXES)
    assert not may_be_id("org/name.csv", FILE_FORMATS, needs_owner=False)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("org/name", None), ("name", "has an owner"), ("a b/c", "not a Hub id"), ("a/b/c", "not a Hub id")],
)
def test_an_id_that_is_malformed_is_told_why(name: str, fault: str | None) -> None:
    found = find_id_fault(name)
    assert found is None if fault is None else fault in str(found)
