"""The metrics of a step: their numbers, and names for which verl takes the average."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.advantage import compute_advantages
from spo_train.spo.divergence import forgetting_rate
from spo_train.spo.metrics import step_metrics
from spo_train.spo.settings import SPOSettings

REWARDS = [1.0, 0.0, 1.0, 0.0]
BASELINES = [0.5, 0.5, 0.9, 0.1]
DIVERGENCES = [0.06, 0.0, math.nan, 0.009]


def full() -> dict[str, float]:
    return step_metrics(
        baselines=BASELINES,
        rewards=REWARDS,
        advantages=compute_advantages(REWARDS, BASELINES),
        counts=[8, 8, 10, 6],
        visits=[0, 0, 3, 1],
        divergences=DIVERGENCES,
        forgetting=forgetting_rate(DIVERGENCES, SPOSettings()),
        table=[0.2, 0.4],
    )


def test_a_batch_of_hand_computed_numbers() -> None:
    """r - v = 0.5, -0.5, 0.1, -0.1. The sum of its squares is 0.52."""
    deviation = (0.52 / 3) ** 0.5
    rho = (0.875 + 0.96 + 0.875 + 2 ** (-0.009 / 0.06)) / 4
    expected = {
        "spo/baseline": 0.5,
        "spo/reward": 0.5,
        "spo/reward/std": (1 / 3) ** 0.5,
        "spo/advantage/mean": 0,
        "spo/advantage/std": deviation,
        "spo/brier": 0.13,
        "spo/advantage/p10": (-0.5 + 0.3 * 0.4) / deviation,
        "spo/advantage/p30": (-0.1 - 0.1 * 0.4) / deviation,
        "spo/advantage/p50": 0,
        "spo/advantage/p70": (0.1 + 0.1 * 0.4) / deviation,
        "spo/advantage/p90": (0.5 - 0.3 * 0.4) / deviation,
        "spo/advantage/within_0.02": 0,
        "spo/advantage/within_1e-4": 0,
        "spo/draws/0.0-0.2": 0.25,
        "spo/draws/0.2-0.4": 0,
        "spo/draws/0.4-0.6": 0.5,
        "spo/draws/0.6-0.8": 0,
        "spo/draws/0.8-1.0": 0.25,
        "spo/n_eff": 8,
        "spo/visits": 1,
        "spo/first_visits": 0.5,
        "spo/divergence": 0.023,
        "spo/divergence/unknown": 0.25,
        "spo/rho": rho,
        "spo/rho/clipped_low": 0.25,
        "spo/rho/clipped_high": 0.25,
        "spo/table/value": 0.3,
    }
    assert full() == pytest.approx(expected, abs=1e-7)


def test_names_are_ones_that_verl_averages() -> None:
    """If a metric's name contains one of these anywhere, verl takes the largest, smallest or sum over a step."""
    for name in full():
        assert name.startswith("spo/")
        assert not [part for part in ("max", "min", "sum", "total", "timing", "lr") if part in name]


def test_values_are_python_floats() -> None:
    """verl drops booleans, and loggers fail on numpy's scalars."""
    assert {type(value) for value in full().values()} == {float}


def test_what_was_not_measured_has_no_metrics() -> None:
    metrics = step_metrics(baselines=BASELINES, rewards=REWARDS, advantages=compute_advantages(REWARDS, BASELINES))
    absent = [name for name in full() if name not in metrics]
    groups = {name.split("/")[1] for name in absent}
    assert groups == {"n_eff", "visits", "first_visits", "divergence", "rho", "table"}


def test_shares_near_0_are_of_the_advantage_before_it_is_normalised() -> None:
    """This is the paper's figure 3a. After normalisation, 0.01 would be far from 0 in a batch that varies little."""
    baselines = np.array([0.99, 0.00005, 0.5, 0.0])
    metrics = step_metrics(baselines=baselines, rewards=REWARDS, advantages=compute_advantages(REWARDS, baselines))
    assert (metrics["spo/advantage/within_0.02"], metrics["spo/advantage/within_1e-4"]) == (0.75, 0.5)


def test_a_batch_of_which_no_divergence_is_known_logs_no_mean_of_it() -> None:
    metrics = step_metrics(baselines=[0.5], rewards=[1], advantages=[0], divergences=[math.nan])
    assert "spo/divergence" not in metrics
    assert metrics["spo/divergence/unknown"] == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_of_none_or_one_has_no_nan_and_warns_of_nothing(size: int) -> None:
    arrays: dict[str, Any] = {
        name: np.zeros(size) for name in ("baselines", "rewards", "advantages", "counts", "visits", "divergences")
    }
    metrics = step_metrics(**arrays, forgetting=forgetting_rate(np.zeros(size), SPOSettings()), table=np.zeros(size))
    assert not any(math.isnan(value) for value in metrics.values())
    assert ("spo/reward" in metrics) is (size == 1)


@given(st.lists(st.floats(-2, 3), min_size=1, max_size=30))
def test_every_draw_is_in_one_bin(baselines: list[float]) -> None:
    """This includes values beyond [0, 1], which rewards other than 0 and 1 can cause."""
    zeros = np.zeros(len(baselines))
    metrics = step_metrics(baselines=baselines, rewards=zeros, advantages=zeros)
    shares = [share for name, share in metrics.items() if name.startswith("spo/draws/")]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(("baseline", "name"), [(0.2, "0.2-0.4"), (0.6, "0.6-0.8"), (1.0, "0.8-1.0"), (0.0, "0.0-0.2")])
def test_a_value_on_an_edge_belongs_to_the_bin_that_begins_there(baseline: float, name: str) -> None:
    metrics = step_metrics(baselines=[baseline], rewards=[0], advantages=[0])
    assert metrics[f"spo/draws/{name}"] == 1
