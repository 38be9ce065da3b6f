"""Advantages: centred, normalised over the batch, and never NaN."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.advantage import compute_advantages, share_below

UNIT = st.floats(0, 1)


def test_advantages_of_hand_computed_numbers() -> None:
    """r - v = 0.5, -0.5, 0.5, -0.5 has the unbiased standard deviation sqrt(1/3): plus and minus sqrt(3) / 2."""
    result = compute_advantages([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(result, np.array([1, -1, 1, -1]) * 3**0.5 / 2, rtol=1e-7)
    assert result.dtype == np.float64


def test_the_baseline_is_taken_off_before() -> None:
    """Success on an easy prompt says little, on a hard one much: 0.1 and 0.9 around 0.5."""
    np.testing.assert_allclose(compute_advantages([1, 1], [0.9, 0.1]), [-(0.5**0.5), 0.5**0.5], rtol=1e-7)


@pytest.mark.parametrize(
    ("rewards", "baselines"),
    [([1], [0.25]), ([], []), ([0.1] * 3, [0.0] * 3), ([1.0, 0.5], [0.5, 0.0])],
    ids=["one", "none", "equal to rounding", "equal difference"],
)
def test_a_batch_that_does_not_vary_has_zeros(rewards: list[float], baselines: list[float]) -> None:
    """torch's standard deviation of a single number is NaN, which would end the run."""
    np.testing.assert_array_equal(compute_advantages(rewards, baselines), np.zeros(len(rewards)))


@given(st.lists(st.tuples(UNIT, UNIT), max_size=40))
def test_advantages_are_finite_and_centred(pairs: list[tuple[float, float]]) -> None:
    result = compute_advantages([reward for reward, _ in pairs], [baseline for _, baseline in pairs])
    assert np.isfinite(result).all()
    assert abs(result.sum()) < 1e-6
    assert np.all(np.abs(result) <= max(len(pairs), 1) ** 0.5)


@given(st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_an_advantage_does_not_depend_on_its_place_in_the_batch(
    pairs: list[tuple[float, float]], random: object
) -> None:
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    rewards, baselines = (np.array(side) for side in zip(*pairs, strict=True))
    np.testing.assert_allclose(
        compute_advantages(rewards[order], baselines[order]), compute_advantages(rewards, baselines)[order], atol=1e-6
    )


def test_the_references_normalisation_on_random_inputs() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        size = int(generator.integers(2, 60))
        rewards, baselines = generator.integers(0, 2, size).tolist(), generator.uniform(0, 1, size).tolist()
        raw = [reward - baseline for reward, baseline in zip(rewards, baselines, strict=True)]
        mean, deviation = statistics.fmean(raw), statistics.stdev(raw)
        expected = [(each - mean) / (deviation + 1e-8) for each in raw]
        np.testing.assert_allclose(compute_advantages(rewards, baselines), expected, rtol=1e-9, atol=1e-12)


def test_the_share_of_responses_whose_reward_was_known_before() -> None:
    assert share_below([0.02, -0.02, 0.0, 0.021, -1], 0.02) == 0.6
    assert share_below([0.02, -0.02, 0.0, 0.021, -1], 1e-4) == 0.2
    assert share_below([], 0.02) == 0
