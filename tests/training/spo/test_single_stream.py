"""Draws, baselines and learning, over many steps and over a restart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.settings import SPOSettings
from spo_train.spo.single_stream import SingleStream

PROMPTS = [f"{number:032x}" for number in range(40)]
TOTALS = np.arange(40) % 9
COUNTS = np.full(40, 8)


def make_stream(**settings: object) -> SingleStream:
    return SingleStream(PROMPTS, TOTALS, COUNTS, SPOSettings(**settings))  # type: ignore[arg-type]


def train(stream: SingleStream, steps: range, batch: int = 8) -> list[tuple[int, float, float]]:
    """Do what a trainer does, with rewards that depend only on the draw."""
    seen = []
    for step in steps:
        draws = stream.draw(batch, policy=step)
        rewards = [float((draw.row * 7 + draw.number) % 3 == 0) for draw in draws]
        observed = stream.observe([draw.uid for draw in draws], rewards)
        for draw in draws:
            stream.memory.store(draw.row, [1, 2], [3, 4, draw.number], [-1.0, -0.5, -0.25], [True] * 3, step)
        divergences = [0.01 * (draw.number % 9) for draw in draws] if stream.settings.method == "spo" else None
        stream.learn(observed, divergences, [3] * batch, policy=step)
        seen += [(draw.row, draw.baseline, adv) for draw, adv in zip(draws, observed.advantages, strict=True)]
    return seen


@pytest.mark.parametrize("method", ["spo", "grpo", "no-baseline"])
def test_a_restored_stream_continues_as_the_uninterrupted_one(method: str) -> None:
    """Prompts, baselines, advantages and arrays are identical to the bit."""
    whole = make_stream(method=method)
    expected = train(whole, range(12))

    first = make_stream(method=method)
    seen = train(first, range(5))
    second = make_stream(method=method)
    second.restore({name: array.copy() for name, array in first.state().items()})
    seen += train(second, range(5, 12))

    assert seen == expected
    for name, array in whole.state().items():
        np.testing.assert_array_equal(array, second.state()[name], err_msg=name)


def test_prompts_in_flight_survive_a_restart_and_are_not_drawn_twice() -> None:
    """Asynchronous modes save while prompts are being sampled. A restart restores them with their baselines."""
    stream = make_stream()
    waiting = stream.draw(20, policy=3)
    again = make_stream()
    again.restore(stream.state())
    fresh = again.draw(20, policy=4)
    assert {draw.row for draw in waiting} | {draw.row for draw in fresh} == set(range(40))
    observed = again.observe([draw.uid for draw in waiting], [1.0] * 20)
    assert observed.draws == tuple(waiting)
    assert observed.baselines.tolist() == [draw.baseline for draw in waiting]
    assert set(again.in_flight) == {draw.uid for draw in fresh}


def test_a_batch_that_is_larger_than_the_free_prompts_is_refused() -> None:
    for method in ("spo", "grpo"):
        stream = make_stream(method=method)
        stream.draw(30, policy=0)
        with pytest.raises(ValueError, match="a batch of 11 prompts cannot be drawn: 10 are free"):
            stream.draw(11, policy=0)


def test_what_the_replay_buffer_lost_may_be_drawn_again() -> None:
    """If grading failed, the prompt was evicted but stayed in flight forever, so it was never drawn again."""
    stream = make_stream()
    draws = stream.draw(40, policy=0)
    assert stream.forget_lost({draw.uid for draw in draws[:30]}) == 10
    assert {draw.row for draw in stream.draw(10, policy=0)} == {draw.row for draw in draws[30:]}


def test_other_prompts_or_the_same_in_another_order_are_refused() -> None:
    state = make_stream().state()
    other = SingleStream(PROMPTS[::-1], TOTALS, COUNTS, SPOSettings())
    with pytest.raises(ValueError, match="other training prompts"):
        other.restore(state)


def test_groups_have_one_draw_and_no_baseline() -> None:
    stream = make_stream(method="grpo")
    draws = stream.draw(2, policy=0)
    uids = [draw.uid for draw in draws for _ in range(4)]
    observed = stream.observe(uids, [1, 0, 0, 0, 1, 1, 1, 1])
    assert observed.baselines.tolist() == [0.0] * 8
    assert not stream.in_flight


def test_the_length_bias_compares_a_batch_with_all_so_far() -> None:
    """The first responses to finish are short. When the long ones arrive, the batch is longer than average."""
    stream = make_stream(method="grpo")
    biases = []
    for lengths in ([2, 4], [6, 12]):
        uids = [draw.uid for draw in stream.draw(2, policy=1)]
        biases.append(stream.learn(stream.observe(uids, [0, 1]), None, lengths, policy=2)["spo/length_bias"])
    assert biases == pytest.approx([1.0, 9 / 6])


def test_a_first_visit_without_a_response_has_no_divergence_and_a_dropped_one_is_unknown() -> None:
    """A first visit's D was NaN, which marks a dropped response, so every prompt forgot as much as possible."""
    stream = make_stream(memory_gib=1e-6)
    stream.memory.store(3, [1], np.arange(5000), np.zeros(5000), np.ones(5000, bool), 0)
    found = stream.unknown_divergences(np.array([2, 3]))
    assert found[0] == 0.0
    assert np.isnan(found[1])


@given(st.lists(st.integers(1, 17), min_size=1, max_size=12))
def test_epochs_show_every_prompt_once_before_any_twice(sizes: list[int]) -> None:
    """Methods without values go through shuffled epochs. A batch that spans two epochs has no prompt twice."""
    stream = make_stream(method="grpo")
    rows: list[int] = []
    for step, size in enumerate(sizes):
        draws = stream.draw(size, policy=step)
        assert len({draw.row for draw in draws}) == size
        stream.observe([draw.uid for draw in draws], [0.0] * size)
        rows += [draw.row for draw in draws]
    visits = np.bincount(rows, minlength=40)
    assert visits.max() - visits.min() <= 2
    whole = len(rows) // 40
    assert visits.min() >= whole - 1
    first = rows[:40]
    assert len(set(first)) == len(first) or len(rows) > 40
