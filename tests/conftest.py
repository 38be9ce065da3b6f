"""Fixtures for all tests."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from support.made_runs import make_run
from support.scripted import hash_the_embedded_model_once

# How long one example takes depends on what else the machine does, so no example has a deadline.
settings.register_profile("spo", deadline=None, derandomize=True, database=None)
settings.load_profile("spo")


@pytest.fixture(scope="session", autouse=True)
def _no_width() -> Iterator[None]:
    """Commands print at the width they choose for a pipe: pytest-xdist's workers set COLUMNS, and a shell may too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _embedded_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepare the embedded model up front: its first use on a new machine takes 30 s, too long for any single test."""
    from spo_data.models.embedded import embedded_model

    with FileLock(tmp_path_factory.getbasetemp().parent / "embedded-model.lock"):  # one pytest-xdist worker at a time
        embedded_model()
    with pytest.MonkeyPatch.context() as patch:
        hash_the_embedded_model_once(patch)
        yield


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run that a test may change: made from the module's DRAWN scores and N, or copied from its `finished` run."""
    if hasattr(request.module, "DRAWN"):
        return make_run(tmp_path / "run", request.module.DRAWN, n=request.module.N)
    return Path(shutil.copytree(request.getfixturevalue("finished"), tmp_path / "run"))


@pytest.fixture
def datasets_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files that `datasets` makes of local data go into the session's folder, not into the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


@pytest.fixture(scope="session")
def nowhere() -> str:
    """The address of a hub that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
