"""A test of training that needs verl is skipped in an environment without it, which can only estimate."""

import importlib.util
from collections.abc import Generator

import pytest

WITH_VERL = importlib.util.find_spec("verl") is not None
BROUGHT = ("verl", "ray", "hydra", "omegaconf", "tensordict", "transfer_queue")
"""Packages that the extra `train` brings."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    yield from _skip_without_verl()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    yield from _skip_without_verl()


def _skip_without_verl() -> Generator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if WITH_VERL or (error.name or "").partition(".")[0] not in BROUGHT:
            raise
        pytest.skip(f"verl is not installed ({error})")
