"""What every test can rely on."""

from collections.abc import Iterator

import pytest
from filelock import FileLock

from support.scripted import hash_the_embedded_model_once


@pytest.fixture(scope="session", autouse=True)
def _no_width() -> Iterator[None]:
    """Commands print for a pipe, as wide as they choose: pytest-xdist's workers have COLUMNS, and a shell may."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _embedded_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """On a new machine the first use takes half a minute, which no single test should be charged with."""
    from spo_data.models.embedded import embedded_model

    with FileLock(tmp_path_factory.getbasetemp().parent / "embedded-model.lock"):  # one of pytest-xdist's workers
        embedded_model()
    with pytest.MonkeyPatch.context() as patch:
        hash_the_embedded_model_once(patch)
        yield
