"""The value tracker: first values, weights, draws, updates, checkpoints."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.settings import SPOSettings
from spo_train.spo.tracker import ValueTracker

PAPER = SPOSettings()
RHO = st.floats(PAPER.rho_min, PAPER.rho_max)
UNIT = st.floats(0, 1)
BATCH = st.lists(st.tuples(st.integers(0, 4), UNIT, RHO), min_size=1, max_size=30)


def tracker_of(values: npt.ArrayLike, settings: SPOSettings = PAPER, count: float = 8) -> ValueTracker:
    """A tracker with these values, each worth `count` observations."""
    values = np.asarray(values, float)
    return ValueTracker(count * values, count * (1 - values), np.zeros(len(values), np.int64), settings)


def test_the_mean_gives_alpha_and_beta_of_eight_observations() -> None:
    """N_0 = 1 / (1 - 0.875) = 8, v_0 = 3/4: Beta(6, 2), even from more scores."""
    tracker = ValueTracker.from_scores([6, 12], [8, 16], PAPER)
    np.testing.assert_array_equal(tracker.alpha, [6, 6])
    np.testing.assert_array_equal(tracker.beta, [2, 2])
    np.testing.assert_array_equal(tracker.visits, [0, 0])
    arrays = (tracker.alpha, tracker.beta, tracker.visits)
    assert [array.dtype.name for array in arrays] == ["float64", "float64", "int64"]


def test_a_value_is_worth_no_more_observations_than_it_has_scores() -> None:
    """One right score weighed as eight, so that its prompt stayed near 1 for many steps."""
    tracker = ValueTracker.from_scores([1, 3], [1, 4], PAPER)
    np.testing.assert_array_equal(tracker.counts, [1, 4])
    np.testing.assert_array_equal(tracker.values, [1, 0.75])


def test_jeffreys_never_starts_at_0_or_1() -> None:
    tracker = ValueTracker.from_scores([0, 8], [8, 8], SPOSettings(init="jeffreys"))
    np.testing.assert_allclose(tracker.alpha, [8 * 0.5 / 9, 8 * 8.5 / 9], rtol=1e-15)
    np.testing.assert_allclose(tracker.counts, [8, 8], rtol=1e-15)


def test_no_offline_value_is_one_half_worth_one_observation() -> None:
    tracker = ValueTracker.from_scores([0, 8], [8, 8], SPOSettings(init="none"))
    np.testing.assert_array_equal(tracker.alpha, [0.5, 0.5])
    np.testing.assert_array_equal(tracker.beta, [0.5, 0.5])


@pytest.mark.parametrize("init", ["mean", "jeffreys", "empirical_bayes"])
def test_a_prompt_without_scores_gets_the_mean_of_the_table_worth_one_observation(init: str) -> None:
    tracker = ValueTracker.from_scores([0, 0, 6], [0, 8, 8], SPOSettings(init=init))  # type: ignore[arg-type]
    assert tracker.values[0] == pytest.approx((tracker.values[1] + tracker.values[2]) / 2)
    np.testing.assert_allclose(tracker.counts, [1, 8, 8])


def test_a_table_without_scores_is_one_half() -> None:
    tracker = ValueTracker.from_scores([0, 0], [0, 0], PAPER)
    np.testing.assert_array_equal(tracker.values, [0.5, 0.5])
    assert len(ValueTracker.from_scores([], [], PAPER)) == 0


def test_empirical_bayes_of_a_hand_computed_table() -> None:
    """With 4 scores per prompt and the means 0, 1/4, 3/4, 1: mu = 1/2, Var = 5/24, h = 1/4, so V = (5/24 - 1/16) /
    (3/4) = 7/36.

    a + b = (1/4) / (7/36) - 1 = 2/7, so a = b = 1/7 and v_0 = (total + 1/7) / (4 + 2/7).
    """
    tracker = ValueTracker.from_scores([0, 1, 3, 4], [4, 4, 4, 4], SPOSettings(init="empirical_bayes"))
    np.testing.assert_allclose(tracker.values, [1 / 30, 8 / 30, 22 / 30, 29 / 30], rtol=1e-12)


def test_empirical_bayes_finds_the_prior_that_made_the_table_and_beats_the_mean() -> None:
    """Its purpose: values closer to the true probabilities than the mean scores, even with unequal counts."""
    generator = np.random.default_rng(1)
    truth = generator.beta(2, 6, 20_000)
    counts = generator.integers(2, 9, len(truth))
    totals = generator.binomial(counts, truth)
    fitted = ValueTracker.from_scores(totals, counts, SPOSettings(init="empirical_bayes"))
    exact = (totals + 2) / (counts + 8)
    np.testing.assert_allclose(fitted.values, exact, atol=0.02)
    mean = ValueTracker.from_scores(totals, counts, PAPER)
    assert np.mean((fitted.values - truth) ** 2) < 0.5 * np.mean((mean.values - truth) ** 2)


@pytest.mark.parametrize(
    ("totals", "counts", "values"),
    [
        ([3], [4], [0.7]),
        ([0, 1, 1], [1, 1, 1], [0.25, 0.75, 0.75]),
        ([0, 0], [4, 4], [0.1, 0.1]),
        ([4, 4], [4, 4], [0.9, 0.9]),
        ([-8, 4], [4, 4], [-1.5, 0.9]),
        ([1, 1, 2], [2, 2, 4], [0.5, 0.5, 0.5]),
        ([0, 4], [4, 4], [0, 1]),
    ],
    ids=["one prompt", "one score each", "all wrong", "all right", "beyond [0, 1]", "alike", "0 and 1"],
)
def test_empirical_bayes_of_a_table_that_does_not_say_how_values_spread(
    totals: list[float], counts: list[int], values: list[float]
) -> None:
    tracker = ValueTracker.from_scores(totals, counts, SPOSettings(init="empirical_bayes"))
    np.testing.assert_allclose(tracker.values, values, atol=1e-12)


@pytest.mark.parametrize(("totals", "counts"), [([1], [1, 2]), ([float("nan")], [1]), ([1], [-1]), (1, 2)], ids=str)
def test_scores_that_are_none_are_refused(totals: npt.ArrayLike, counts: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match=r"scores|totals"):
        ValueTracker.from_scores(totals, counts, PAPER)


def test_weights_are_the_standard_deviation_plus_exploration() -> None:
    tracker = tracker_of([0, 0.2, 0.5, 1])
    np.testing.assert_allclose(tracker.weights(0.05), [0.05, 0.45, 0.55, 0.05], rtol=1e-12)


def test_weights_of_values_beyond_0_and_1_are_those_of_the_ends() -> None:
    np.testing.assert_allclose(tracker_of([-0.3, 1.7]).weights(0.05), [0.05, 0.05])


def test_weights_are_equal_when_not_prioritised() -> None:
    np.testing.assert_array_equal(tracker_of([0, 0.5], SPOSettings(prioritised=False)).weights(0.05), [1, 1])


def test_an_update_of_hand_computed_numbers() -> None:
    """Beta(6, 2), rho 0.875, reward 1: (0.875 * 6 + 1, 0.875 * 2); rho 0.96, reward 0: (5.76, 2.92)."""
    tracker = tracker_of([0.75, 0.75, 0.75])
    tracker.update([2, 0], [1, 0], [0.875, 0.96])
    np.testing.assert_allclose(tracker.alpha, [5.76, 6, 6.25], rtol=1e-15)
    np.testing.assert_allclose(tracker.beta, [2.92, 2, 1.75], rtol=1e-15)
    np.testing.assert_array_equal(tracker.visits, [1, 0, 1])


def test_a_row_that_is_twice_in_a_batch_forgets_once_and_gains_both() -> None:
    """alpha = 0.9 * 4 + 1 + 0.5, beta = 0.9 * 4 + 0 + 0.5, with the mean of 0.88 and 0.92."""
    tracker = tracker_of([0.5, 0.5])
    tracker.update([1, 1], [1, 0.5], [0.88, 0.92])
    np.testing.assert_allclose((tracker.alpha[1], tracker.beta[1]), (5.1, 4.1), rtol=1e-15)
    np.testing.assert_array_equal(tracker.visits, [0, 2])


@given(BATCH, st.randoms(use_true_random=False))
def test_the_order_of_a_batch_does_not_matter_to_the_bit(batch: list[tuple[int, float, float]], random: object) -> None:
    """Duplicates are included. Otherwise a resumed run whose samples finish in another order would diverge."""
    shuffled = batch.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (tracker_of([0.1, 0.3, 0.5, 0.7, 0.9]) for _ in range(2))
    for tracker, order in ((first, batch), (second, shuffled)):
        rows, rewards, rho = zip(*order, strict=True)
        tracker.update(rows, rewards, rho)
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, second.state()[name])


@given(UNIT, st.lists(st.tuples(UNIT, RHO), max_size=60))
def test_values_stay_in_0_to_1_and_the_count_within_its_bound(start: float, steps: list[tuple[float, float]]) -> None:
    """Rewards in [0, 1] keep v there, and N <= max(N_0, 1 / (1 - rho_max)) = 25: the tracker never stops learning."""
    tracker = tracker_of([start])
    for reward, rho in steps:
        tracker.update([0], [reward], [rho])
        assert -1e-12 <= tracker.values[0] <= 1 + 1e-12
        assert tracker.counts[0] <= max(PAPER.initial_count, 1 / (1 - PAPER.rho_max)) * (1 + 1e-12)


@pytest.mark.parametrize(("rho", "bound"), [(0.875, 8), (0.96, 25)])
def test_the_count_tends_to_its_bound(rho: float, bound: float) -> None:
    tracker = ValueTracker.from_scores([0], [0], PAPER)
    for _ in range(600):
        tracker.update([0], [1], rho)
    assert tracker.counts[0] == pytest.approx(bound)


@given(
    st.floats(-3, 3),
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 0.99)), min_size=1, max_size=30),
)
def test_the_papers_moving_average_for_other_rewards_is_the_same_update(
    start: float, steps: list[tuple[float, float]]
) -> None:
    """v <- v + (r - v) / (rho N + 1), N <- rho N + 1, with rewards that are not binary: the same code serves both."""
    tracker = tracker_of([start])
    value, count = start, 8.0
    for reward, rho in steps:
        tracker.update([0], [reward], [rho])
        value, count = value + (reward - value) / (rho * count + 1), rho * count + 1
    assert tracker.values[0] == pytest.approx(value, abs=1e-9)
    assert tracker.counts[0] == pytest.approx(count)


@pytest.mark.parametrize(("reward", "rho"), [(float("nan"), 0.9), (float("inf"), 0.9), (1, float("nan"))])
def test_a_reward_that_is_no_number_is_refused_before_it_spoils_the_table(reward: float, rho: float) -> None:
    tracker = tracker_of([0.5])
    with pytest.raises(ValueError, match="not finite"):
        tracker.update([0], [reward], rho)
    assert tracker.alpha[0] == 4


def test_the_references_table_on_random_inputs() -> None:
    """`compat: reference`: eight scores per prompt, dictionaries of alphas and betas, updated prompt by prompt."""
    generator = np.random.default_rng(2)
    scores = generator.integers(0, 2, (50, 8))
    tracker = ValueTracker.from_scores(scores.sum(1), np.full(50, 8), SPOSettings(compat="reference"))
    alphas = {row: 8 * (sum(scores[row].tolist()) + 0.5) / 9 for row in range(50)}
    betas = {row: 8 * (8 - sum(scores[row].tolist()) + 0.5) / 9 for row in range(50)}
    for _ in range(20):
        rows = generator.choice(50, 16, replace=False)
        rewards, rho = generator.integers(0, 2, 16), generator.uniform(0.875, 0.96, 16)
        for row, reward, keep in zip(rows.tolist(), rewards.tolist(), rho.tolist(), strict=True):
            alphas[row] = keep * alphas[row] + reward
            betas[row] = keep * betas[row] + 1 - reward
        tracker.update(rows, rewards, rho)
    np.testing.assert_allclose(tracker.alpha, [alphas[row] for row in range(50)], rtol=1e-12)
    np.testing.assert_allclose(tracker.beta, [betas[row] for row in range(50)], rtol=1e-12)
    values = {row: alphas[row] / (alphas[row] + betas[row]) for row in range(50)}
    weights = [(values[row] * (1 - values[row])) ** 0.5 + 0.05 for row in range(50)]
    np.testing.assert_allclose(tracker.weights(0.05), weights, rtol=1e-12)


@given(st.integers(0, 30), st.sets(st.integers(0, 29)), st.integers(0, 2**32))
def test_a_draw_is_exactly_the_batch_distinct_and_never_busy(size: int, busy_rows: set[int], seed: int) -> None:
    tracker = tracker_of(np.linspace(0, 1, 30))
    busy = np.isin(np.arange(30), list(busy_rows))
    if size > 30 - len(busy_rows):
        with pytest.raises(ValueError, match=f"a batch of {size} prompts .* {30 - len(busy_rows)} are free"):
            tracker.draw(size, np.random.default_rng(seed), busy)
    else:
        rows = tracker.draw(size, np.random.default_rng(seed), busy)
        assert rows.dtype == np.int64
        assert len({*rows.tolist()} - busy_rows) == len(rows) == size


def successive(weights: list[float], order: tuple[int, ...]) -> float:
    """The probability of drawing `order` one by one, each in proportion to its weight among those that are left."""
    probability, left = 1.0, sum(weights)
    for row in order:
        probability *= weights[row] / left
        left -= weights[row]
    return probability


def test_draws_are_as_frequent_as_successive_draws_without_replacement() -> None:
    """Each of the 12 ordered pairs of four prompts, over 30,000 draws. The order within a batch is the draw order."""
    tracker = tracker_of([0.0, 0.1, 0.5, 0.95], SPOSettings(exploration=0.05))
    weights = tracker.weights(0.05).tolist()
    generator, draws = np.random.default_rng(3), 30_000
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        pair = tuple(tracker.draw(2, generator).tolist())
        seen[pair] = seen.get(pair, 0) + 1
    for pair in permutations(range(4), 2):
        probability = successive(weights, pair)
        deviation = (probability * (1 - probability) / draws) ** 0.5
        assert seen[pair] / draws == pytest.approx(probability, abs=5 * deviation), pair


def test_a_draw_of_all_is_in_the_order_of_the_race_too() -> None:
    """If the batch has every prompt, the heaviest still comes first most often, not the one with the lowest row."""
    tracker = tracker_of([0.0, 0.0, 0.5])
    generator = np.random.default_rng(4)
    first = [int(tracker.draw(3, generator)[0]) for _ in range(4000)]
    assert first.count(2) / 4000 == pytest.approx(0.55 / 0.65, abs=0.03)


def test_prompts_of_weight_0_come_only_when_no_other_is_left() -> None:
    tracker = tracker_of([0.0, 0.5, 1.0, 0.3, 0.0], SPOSettings(exploration=0))
    generator = np.random.default_rng(5)
    last = set()
    for _ in range(200):
        rows = tracker.draw(3, generator).tolist()
        assert {*rows[:2]} == {1, 3}
        last.add(rows[2])
    assert last == {0, 2, 4}


def same_state(first: np.random.Generator, second: np.random.Generator) -> bool:
    return bool(first.bit_generator.state == second.bit_generator.state)


def test_a_draw_depends_on_its_generator_alone_and_takes_one_number_a_prompt() -> None:
    """Busy prompts and batch size do not change the generator's state. numpy's global generator is not used."""
    tracker = tracker_of(np.linspace(0, 1, 50))
    first, second = np.random.default_rng(6), np.random.default_rng(6)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    np.testing.assert_array_equal(tracker.draw(7, first), tracker.draw(7, second))
    tracker.draw(3, first, np.arange(50) < 20)
    tracker.draw(50, second)
    assert same_state(first, second)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


def changed(tracker: ValueTracker) -> None:
    tracker.update([1, 3, 3], [0.3, 1, 0], [0.9, 0.88, 0.96])


def unchanged(tracker: ValueTracker) -> None:
    assert tracker.visits.sum() == 0


@pytest.mark.parametrize("change", [changed, unchanged])
def test_a_restored_tracker_continues_to_the_bit(change: Callable[[ValueTracker], None]) -> None:
    original = ValueTracker.from_scores([1, 2, 3, 4, 0], [8, 8, 8, 7, 0], PAPER)
    change(original)
    state = original.state()
    restored = ValueTracker.from_scores(np.zeros(5), np.zeros(5), PAPER)
    restored.restore(state)
    for tracker in (original, restored):
        tracker.update([0, 3], [1, 0.2], 0.91)
    for name in ("alpha", "beta", "visits"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(original, name))
    np.testing.assert_array_equal(
        restored.draw(3, np.random.default_rng(7)), original.draw(3, np.random.default_rng(7))
    )


def test_a_state_is_a_copy_that_later_updates_leave_alone() -> None:
    tracker = tracker_of([0.5])
    state = tracker.state()
    restored = tracker_of([0.5])
    restored.restore(state)
    restored.update([0], [1], 0.9)
    tracker.update([0], [1], 0.9)
    assert (state["alpha"][0], state["visits"][0]) == (4, 0)


def test_another_runs_state_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 prompts, this run 1"):
        tracker_of([0.5]).restore(tracker_of([0.5, 0.5]).state())
