"""Fixtures for the pipelines' tests."""

from pathlib import Path

import pytest

from support import scripted


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load one tokenizer for all tests, and write no file to the user's cache."""
    import datasets

    scripted.cheap_chat(monkeypatch)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small file of problems."""
    return scripted.write_rows(tmp_path / "sums.jsonl")
