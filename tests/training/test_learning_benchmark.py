"""The parts of benchmarks/learning.py and benchmarks/batch_assembly.py whose results are known beforehand."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def load(name: str) -> Any:
    module = import_module(name)
    assert str(module.__file__).startswith(BENCHMARKS), sys.path
    return module


def test_singles_keep_the_first_half_and_groups_wait_for_their_slowest() -> None:
    groups = np.array([[[1.0, 9.0], [4.0, 5.0], [2.0, 3.0], [7.0, 8.0]]])
    found = load("batch_assembly").assemble(groups.reshape(1, -1), groups)
    assert found.singles_time.tolist() == [4.0]
    assert found.singles_mean.tolist() == [2.5]
    assert found.groups_time.tolist() == [5.0]
    assert found.groups_mean.tolist() == [3.5]
    assert found.speedup.tolist() == [1.25]


@pytest.mark.parametrize(
    ("order", "times", "means", "ages"),
    [
        # In flight at first: 1, 9, 2, 3. After each batch two of duration 5 start.
        ("finished", [2.0, 5.0, 2.0], [1.5, 4.0, 7.0], [0.0, 0.5, 1.5]),
        ("drawn", [9.0, 0.0, 5.0], [5.0, 2.5, 5.0], [0.0, 1.0, 1.0]),
    ],
)
def test_stragglers_go_on(order: str, times: list[float], means: list[float], ages: list[float]) -> None:
    first = [np.array([1.0, 9.0, 2.0, 3.0]).reshape(1, 4, 1)]

    def start(n: int) -> Any:
        return first.pop() if first else np.full((1, n, 1), 5.0)

    found = load("batch_assembly").stream(start, 4, 3, order)
    assert found.time.tolist() == [times]
    assert found.mean.tolist() == [means]
    assert found.age.tolist() == [ages]


def test_a_group_without_variance_teaches_nothing() -> None:
    loop = load("learning_loop")
    scores = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    expected = np.sqrt(3) / 2 * np.array([1, 1, -1, -1, 0, 0, 0, 0])
    np.testing.assert_allclose(loop.group_advantages(scores, 4), expected, atol=1e-5)


def test_sampled_log_probs_and_success_are_what_a_forward_says() -> None:
    import torch

    torch.set_num_threads(1)  # threads that wait for one another cost more than they save
    model = load("learning_model")
    problems = model.make_problems(0, n_train=40, n_held_out=8)
    policy = model.supervised(problems, 0, steps=2)
    drawn = model.sample(policy, problems.train_prompts, torch.Generator().manual_seed(0))
    direct = model.response_log_probs(policy, problems.train_prompts, drawn.ids).detach()
    torch.testing.assert_close(drawn.log_probs[drawn.mask], direct[drawn.mask], atol=1e-4, rtol=0)
    for ids, mask in zip(drawn.ids, drawn.mask, strict=True):
        n = int(mask.sum())
        assert mask[:n].all()
        assert (ids[n:] == model.PAD).all()
        assert model.END not in ids[: n - 1]
        assert n == model.RESPONSE_TOKENS or ids[n - 1] == model.END
    chances, _ = model.success(policy, problems.train_prompts, problems.train_golds)
    gold = model.response_log_probs(policy, problems.train_prompts, problems.train_golds).detach()
    kept = problems.train_golds != model.PAD
    np.testing.assert_allclose(chances, (gold * kept).sum(1).exp().numpy(), rtol=1e-4)
    assert model.rewards(problems.train_golds, problems.train_golds).all()
    assert model.forgets_to_carry(37, 58, "+") == 85
    assert model.forgets_to_carry(42, 17, "-") == 35
    assert model.forgets_to_carry(17, 42, "-") == -35
    assert model.forgets_to_carry(63, 7, "*") == 421


def test_a_sample_teaches_nothing_if_its_value_predicted_the_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share was measured on normalised advantages, whose size depends on the other samples of the batch."""
    import torch

    torch.set_num_threads(1)
    model, loop = load("learning_model"), load("learning_loop")
    monkeypatch.setattr(loop, "BATCH", 8)
    problems = model.make_problems(0, n_train=8, n_held_out=8)
    policy, rows = model.supervised(problems, 0, steps=1), np.arange(8)
    drawn = model.sample(policy, problems.train_prompts, torch.Generator().manual_seed(0))
    run = loop.Run("spo", loop.Start(0, problems, policy, np.full(8, 4.0), drawn), learning_rate=1e-4)
    rewards = np.array([1.0, 0.0] * 4)
    baselines = np.array([0.99, 0.01, 0.99, 0.01, 0.99, 0.01, 0.5, 0.0])
    run._learn(rows, drawn, rewards, baselines, loop.compute_advantages(rewards, baselines))
    assert run.by_step["within_0.02"] == [7 / 8]
    assert run.by_step["within_1e-4"] == [1 / 8]
