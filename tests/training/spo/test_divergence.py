"""How far the policy has moved, and how much the tracker forgets because of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.divergence import forgetting_rate, measure_divergence
from spo_train.spo.settings import Divergence, SPOSettings

PAPER = SPOSettings()
ESTIMATORS: tuple[Divergence, ...] = ("abs", "k1", "k3")
LOG_PROB = st.floats(-60, 0)
PAIRS = st.lists(st.tuples(LOG_PROB, LOG_PROB), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("abs", (0.5 + 0.25) / 2), ("k1", (0.5 - 0.25) / 2), ("k3", (math.exp(-0.5) - 0.5 + math.exp(0.25) - 1.25) / 2)],
)
def test_each_estimator_on_two_tokens(estimator: Divergence, expected: float) -> None:
    """One token fell by 0.5, one rose by 0.25."""
    assert measure_divergence([-1.0, -2.0], [-1.5, -1.75], estimator) == pytest.approx(expected, rel=1e-12)


def test_k1_is_never_below_0() -> None:
    assert measure_divergence([-2.0], [-1.0], "k1") == 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_response_without_model_tokens_has_not_moved(estimator: Divergence) -> None:
    assert measure_divergence([], [], estimator) == 0


@given(PAIRS)
def test_a_divergence_is_a_finite_number_and_not_negative(pairs: list[tuple[float, float]]) -> None:
    """This includes log-probs clamped to float16's range: exp(65,504) would overflow."""
    old, new = (np.array(side) for side in zip(*pairs, strict=True))
    for estimator in ESTIMATORS:
        assert 0 <= measure_divergence(old, new, estimator) < math.inf
        assert measure_divergence(old, old, estimator) == 0
        assert 0 <= measure_divergence([-65504.0, *old], [0.0, *new], estimator) < math.inf


def test_k1_and_k3_estimate_the_kl_from_the_old_policy_to_the_new() -> None:
    """The tokens are sampled from `old`. The opposite direction, KL(new || old), is 25 % larger here."""
    old, new = np.array([0.6, 0.3, 0.1]), np.array([0.3, 0.3, 0.4])
    forward = float((old * np.log(old / new)).sum())
    backward = float((new * np.log(new / old)).sum())
    tokens = np.random.default_rng(0).choice(3, 200_000, p=old)
    for estimator in ("k1", "k3"):
        estimate = measure_divergence(np.log(old)[tokens], np.log(new)[tokens], estimator)
        assert estimate == pytest.approx(forward, rel=0.02)
        assert estimate != pytest.approx(backward, rel=0.1)


def test_log_probs_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="one per token"):
        measure_divergence([-1.0], [-1.0, -2.0], "abs")


@pytest.mark.parametrize(
    ("distance", "rho"),
    [
        (0.0, 0.96),  # 1, clipped
        (0.06 * math.log2(1 / 0.9), 0.9),
        (0.06, 0.875),  # 0.5, clipped
        (math.inf, 0.875),
        (math.nan, 0.875),
    ],
)
def test_rho_of_hand_computed_divergences(distance: float, rho: float) -> None:
    """D = 0.06 gives one half. An unknown divergence forgets the most, because the last visit was long ago."""
    assert forgetting_rate([distance], PAPER).rho == pytest.approx([rho], rel=1e-12)


def test_rho_without_clips_is_one_half_at_half_divergence() -> None:
    settings = SPOSettings(rho_min=0, rho_max=0.999, half_divergence=0.03)
    np.testing.assert_allclose(forgetting_rate([0.03, 0.06, math.nan], settings).rho, [0.5, 0.25, 0], rtol=1e-12)


def test_clip_shares_count_what_was_beyond_the_clips() -> None:
    """0 and 0.001 give more than 0.96, 0.06 less than 0.875, 0.009 lies between (0.901). Unknown ones do not count."""
    record = forgetting_rate([0, 0.001, 0.06, 0.009, math.nan], PAPER)
    assert (record.clipped_low, record.clipped_high) == (0.2, 0.4)


def test_a_fixed_rho_holds_whatever_the_divergence() -> None:
    record = forgetting_rate([0, 1, math.nan], SPOSettings(fixed_rho=0.5))
    np.testing.assert_array_equal(record.rho, [0.5, 0.5, 0.5])
    assert (record.clipped_low, record.clipped_high) == (0, 0)


def test_an_empty_batch_forgets_nothing() -> None:
    record = forgetting_rate([], PAPER)
    assert (record.rho.shape, record.clipped_low, record.clipped_high) == ((0,), 0, 0)


@given(st.lists(st.floats(0, 10) | st.just(math.nan), max_size=20))
def test_rho_lies_between_its_clips(distances: list[float]) -> None:
    rho = forgetting_rate(distances, PAPER).rho
    assert ((rho >= PAPER.rho_min) & (rho <= PAPER.rho_max)).all()


def test_the_references_rho_on_random_inputs() -> None:
    """`compat: reference` has padded log-probs with a mask, and on a first visit the current ones as the old ones."""
    settings = SPOSettings(compat="reference")
    generator = np.random.default_rng(1)
    for _ in range(200):
        width, own = 12, int(generator.integers(0, 13))
        mask = [1.0] * own + [0.0] * (width - own)
        new = [float(each) for each in generator.normal(-1, 1, width)]
        first_visit = bool(generator.integers(0, 2))
        old = list(new) if first_visit else [each + float(generator.normal(0, 0.02)) for each in new]
        masked = sum(abs(a - b) * m for a, b, m in zip(old, new, mask, strict=True)) / (sum(mask) + 1e-8)
        expected = min(max(2.0 ** (-masked / 0.06), 0.875), 0.96)
        ours = measure_divergence(old[:own], new[:own], settings.divergence)
        assert ours == pytest.approx(masked, rel=1e-6, abs=1e-12)
        assert forgetting_rate([ours], settings).rho == pytest.approx([expected], rel=1e-6)
