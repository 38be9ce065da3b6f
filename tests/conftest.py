"""What every test can rely on."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _embedded_model_is_built() -> None:
    """On a new machine the first use takes half a minute, which no single test should be charged with."""
    from spo_data.embedded_model import embedded_model

    embedded_model()
