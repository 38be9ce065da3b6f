"""Hooks of the trainer that need no engine: what they ask of verl's workers, with recorders in their place."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from spo_train.settings import SPOSettings

pytestmark = pytest.mark.slow  # verl takes ten seconds to import

TOKENS = (np.array([1], np.int32), np.array([2], np.int32), np.array([True]))


class Workers:
    """A worker group that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda version: self.asked.append((name, version))


def make_trainer(part: int, *, bypass: bool = False, **settings: Any) -> Any:
    from omegaconf import OmegaConf
    from spo_train.trainer import SPOTrainerSeparateAsync

    trainer = object.__new__(SPOTrainerSeparateAsync)
    trainer.settings = SPOSettings(**settings)
    trainer.local_trigger_step = part
    trainer.actor_rollout_wg = Workers()
    trainer.config = OmegaConf.create(
        {
            "actor_rollout_ref": {"rollout": {"temperature": 1.0, "log_prob_max_token_len_per_gpu": 128}},
            "algorithm": {"rollout_correction": {"bypass_mode": bypass}},
        }
    )
    return trainer


def test_a_later_part_of_a_step_is_compared_with_the_steps_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """D is of the policy before its update; in part 2 of a step the weights had been updated once already."""
    from spo_train import forward

    def log_probs(workers: Workers, sequences: Any, *_: Any) -> list[Any]:
        workers.asked.append(("forward", len(sequences)))
        return [np.zeros(1, np.float32)]

    monkeypatch.setattr(forward, "log_probs", log_probs)
    first, second, reference = make_trainer(0), make_trainer(1), make_trainer(1, compat="reference")
    for trainer in (first, second, reference):
        assert len(trainer._forward([TOKENS])) == 1
    assert first.actor_rollout_wg.asked == [("forward", 1)]
    assert second.actor_rollout_wg.asked == [
        ("save_model_to_cpu", 1),
        ("restore_model_from_cpu", 0),
        ("forward", 1),
        ("restore_model_from_cpu", 1),
        ("clear_cpu_model", 1),
    ]
    assert reference.actor_rollout_wg.asked == [("forward", 1)]  # it measures after the update


def test_with_bypass_the_first_weights_are_kept_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.trainer.ppo.v1 import PPOTrainerSeparateAsync

    monkeypatch.setattr(PPOTrainerSeparateAsync, "_compute_old_log_prob", lambda *arguments: arguments[1])
    for part, asked in ((0, [("save_model_to_cpu", 0)]), (1, [])):
        trainer = make_trainer(part, bypass=True)
        trainer._compute_old_log_prob("batch", {})
        assert trainer.actor_rollout_wg.asked == asked


def test_validation_says_how_many_samples_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.trainer.ppo.v1 import PPOTrainer

    monkeypatch.setattr(PPOTrainer, "_val_metrics_update", lambda *_: {"val-core/sums/reward/mean@1": 1.0})
    expected = {("sums", "a"): 2, ("sums", "b"): 2}
    metrics = make_trainer(0)._val_metrics_update(["sums"] * 3, ["a", "a", "b"], {}, [], expected_acc_counts=expected)
    assert metrics == {"val-core/sums/reward/mean@1": 1.0, "val-aux/failed_samples": 1}


def test_advantages_are_spread_over_their_own_responses_tokens() -> None:
    """Rows that pad the batch have none, and tokens of a tool have none."""
    import torch

    trainer = make_trainer(0)
    trainer._observed = SimpleNamespace(advantages=np.array([0.5, 0.0, -2.0]))
    mask = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
    advantages, returns = trainer._estimate_advantages(torch.zeros(3, 3), mask)
    assert advantages.tolist() == [[0.5, 0, 0.5], [0, 0, 0], [-2, -2, 0]]
    assert returns is advantages
