"""Which files of a repository are its tables: those that `datasets` itself reads."""

from typing import Any

import pytest

from spo_data.hub.table_files import Tables, find_outside, find_tables

OTHERS = ["LICENSE", "README.md", "logo.png", "notes.txt", "CHANGELOG.md"]


def found(names: list[str], *configs: dict[str, Any]) -> Tables:
    return find_tables([*names, *OTHERS], configs, "name")


@pytest.mark.parametrize(
    ("names", "config", "files"),
    [
        (["data/train-00000-of-00001.parquet", "free.parquet"], {"data_files": "data/train-*"}, 1),
        (["a.csv", "b.csv"], {"data_files": [{"split": "train", "path": ["a.csv"]}]}, 1),
        (["en/a.jsonl", "de/a.jsonl"], {"data_dir": "en"}, 1),
        (["a.csv", "b/c.csv"], {"data_files": "**"}, 2),
        (["a.csv"], {"data_files": "absent/*"}, 0),
        (["a.csv"], {"data_files": "absent.csv"}, 0),
    ],
)
def test_the_files_of_a_config_are_those_that_its_patterns_match(
    names: list[str], config: dict[str, Any], files: int
) -> None:
    """A pattern such as ** matches the licence, notes and pictures too, which are no tables."""
    assert found(names, {"config_name": "c", **config}) == Tables(tuple(sorted(names, key=names.index)[:files]))


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], 2),
        (["sums.csv"], 1),
        (["train.jsonl", "free.jsonl"], 1),
        ([], 0),
    ],
)
def test_without_a_config_they_are_those_that_are_loaded_by_default(names: list[str], files: int) -> None:
    assert set(found(names).files) == set(names[:files])


def test_pictures_that_would_be_loaded_are_told_apart_and_words_are_nothing() -> None:
    assert find_tables(["a/1.jpg", "a/2.jpg"], [], "name") == Tables((), ("a/1.jpg", "a/2.jpg"))
    assert find_tables(["notes.txt", "CHANGELOG.md", "LICENSE"], [], "name") == Tables(())
    config = {"config_name": "photos", "data_files": "a/*"}
    assert find_tables(["a/1.jpg", "a/2.jpg"], [config], "name") == Tables(("a/1.jpg", "a/2.jpg"))


def test_what_describes_tables_beside_the_readme_belongs_to_them() -> None:
    names = ["name.py", "other.py", "dataset_infos.json", ".huggingface.yaml"]
    assert found(names).files == (".huggingface.yaml", "dataset_infos.json", "name.py")


@pytest.mark.parametrize(
    "config",
    [
        {"data_files": "../*"},
        {"data_files": ["a.csv", "/**"]},
        {"data_files": [{"split": "train", "path": ["a.csv", "b/../../c.csv"]}]},
        {"data_files": "https://example.com/a.csv"},
        {"data_files": "zip://*.csv::/home/me/a.zip"},
        {"data_dir": "~"},
        {"data_dir": "/"},
    ],
)
def test_files_outside_the_repository_are_not_even_looked_for(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a pattern was matched with the files of the machine that pushes."""
    monkeypatch.setattr("datasets.load_dataset_builder", None)
    tables = found(["a.csv"], {"config_name": "c", **config})
    assert tables.files == ()
    assert tables.unclear["c"].endswith(", outside the repository")


@pytest.mark.parametrize("path", ["a..b/c.csv", "**", "data/train-*", ".", "..."])
def test_a_path_inside_is_not_taken_for_one_outside(path: str) -> None:
    assert find_outside({"data_files": [{"split": "train", "path": path}], "data_dir": path}) is None


@pytest.mark.parametrize("config", [{"data_files": 7}, {"data_files": [{"split": "a-b", "path": "a.csv"}]}])
def test_a_config_that_cannot_be_read_is_said_and_its_files_are_not_guessed(config: dict[str, Any]) -> None:
    tables = found(["a.csv"], {"config_name": "broken", **config}, {"config_name": "ok", "data_files": "a.csv"})
    assert tables.files == ("a.csv",)
    assert list(tables.unclear) == ["broken"]


def test_an_archive_is_tables_of_which_nothing_can_be_told() -> None:
    """`datasets` looks into it to see what it holds. Taken for nothing, it would have been replaced unasked."""
    assert list(find_tables(["data.zip"], [], "name").unclear) == ["default"]
