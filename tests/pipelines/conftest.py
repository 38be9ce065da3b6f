"""Fixtures for the pipelines' tests."""

from pathlib import Path

import pytest

from support import scripted


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, datasets_cache: None) -> None:  # noqa: ARG001 # wanted for its effect
    """Load one tokenizer and the graders' imports for all tests, and write no file to the user's cache."""
    scripted.cheap_chat(monkeypatch)
    scripted.fork_graders(monkeypatch)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A small file of problems."""
    return scripted.write_rows(tmp_path / "sums.jsonl")
