"""The trainer's hooks that need no engine: their calls to verl's workers, which are replaced by recorders."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spo_train.spo.settings import SPOSettings

TOKENS = (np.array([1], np.int32), np.array([2], np.int32), np.array([True]))


class Workers:
    """A worker group that records the calls it gets."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda version: self.asked.append((name, version))


def make_trainer(part: int, *, bypass: bool = False, **settings: Any) -> Any:
    from omegaconf import OmegaConf

    from spo_train.hooks.trainer import SPOTrainerSeparateAsync

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


@pytest.mark.parametrize(("mode", "name"), [("sync", "SyncInDrawOrder"), ("separate_async", "AsyncInDrawOrder")])
def test_verl_finds_the_replay_buffer_of_each_mode(monkeypatch: pytest.MonkeyPatch, mode: str, name: str) -> None:
    from omegaconf import OmegaConf
    from verl.utils.import_utils import load_extern_type

    from spo_train.hooks import draw_order, failures, trainer

    class Base:
        def __init__(self, config: Any) -> None:
            self.config = config

    class Trainer(trainer.SPOMixin, Base):
        pass

    monkeypatch.setattr(failures, "start", lambda: None)
    monkeypatch.setattr(trainer, "register_adv_est", lambda _: lambda estimator: estimator)
    config = {
        "algorithm": {"use_kl_in_reward": False},
        "trainer": {"spo": {}, "max_actor_ckpt_to_keep": 2, "v1": {"trainer_mode": f"spo_{mode}", "sampler": {}}},
    }
    made = Trainer(OmegaConf.create(config))
    assert (made._kept, made.config.trainer.max_actor_ckpt_to_keep) == (2, None), "verl deletes no checkpoint itself"
    sampler = made.config.trainer.v1.sampler.custom_sampler
    assert load_extern_type(sampler.path, sampler.name) is getattr(draw_order, name)


def test_a_later_part_of_a_step_is_compared_with_the_steps_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """D needs the policy before the step's update, but in part 2 the weights have already been updated once."""
    from spo_train.hooks import forward

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
    assert reference.actor_rollout_wg.asked == [("forward", 1)]  # the reference measures after the update


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


def test_a_validation_in_which_all_failed_is_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the sandbox was unavailable during a validation, the training run ended."""
    from verl.trainer.ppo.v1 import PPOTrainer

    from spo_train.hooks.draw_order import NothingGradedError

    def validate(_: Any) -> dict[str, float]:
        raise NothingGradedError("none of 3 prompts was sampled and graded")

    monkeypatch.setattr(PPOTrainer, "_validate", validate)
    trainer = make_trainer(0)
    trainer.val_dataset = [1, 2, 3]
    trainer.config.actor_rollout_ref.rollout.val_kwargs = {"n": 2}
    assert trainer._validate() == {"val-aux/failed_samples": 6}


def test_a_training_that_was_given_up_draws_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from spo_train.hooks import failures

    monkeypatch.setattr(
        failures, "why_given_up", lambda: "3 programs in a row could not be run on node-1: no connection"
    )
    with pytest.raises(RuntimeError, match="3 programs in a row could not be run on node-1"):
        make_trainer(0)._next_train_batch(2)


def make_responses(**fields: Any) -> Any:
    from spo_train.hooks.responses import Responses

    rows = [np.array([1, 2, 3, 4])] * 2
    masks = [np.array([1, 1, 1, 1]), np.array([1, 0, 0, 1])]
    given = {"truncated": [True, False], "tool_turns": None, "tool_seconds": None} | fields
    return Responses([0, 1], ["draw0", "draw1"], [0.0, 1.0], rows, rows, masks, rows, {}, **given)


def test_tools_have_metrics_where_there_are_tools() -> None:
    """verl sums metrics whose names contain max, min, sum or total, and averages the rest over a step's batches."""
    from verl.trainer.ppo.v1.utils import MetricsAggregator

    from spo_train.hooks.responses import response_metrics

    assert response_metrics(make_responses()) == {"spo/truncated": 0.5}
    measured = response_metrics(make_responses(tool_turns=[0, 3], tool_seconds=[0.0, 1.0]))
    assert measured == {
        "spo/truncated": 0.5,
        "spo/tool_use": 0.5,
        "spo/tool_turns": 1.5,
        "spo/tool_seconds": 0.5,
        "spo/tool_tokens": 0.25,
    }
    aggregator = MetricsAggregator()
    for _ in range(2):
        aggregator.add_step_metrics(measured, sample_count=2)
    assert aggregator.get_aggregated_metrics() == measured


def test_first_responses_are_remembered_with_their_masks_and_the_chats_wording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the wording in the prompt, the estimate's tokens would be scored under a different prompt.

    The same holds for a chat template of the user's, which verl gives only to a processor if the model has one.
    """
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer

    from spo_data.models.chat import Chat
    from spo_data.models.embedded import embedded_model
    from spo_data.prompts.identity import Message
    from spo_data.prompts.template import TOOL_WORDING
    from spo_train.data.verl_files import FirstResponse
    from spo_train.hooks import forward
    from spo_train.spo.memory import ResponseMemory

    monkeypatch.setattr(forward, "log_probs", lambda _, rows, *__: [np.zeros(len(row[1]), np.float32) for row in rows])
    (tmp_path / "agent_loop.yaml").write_text("- name: spo_agent\n  template: retool\n")
    trainer = make_trainer(0, values=str(tmp_path / "values.parquet"))
    trainer.tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    trainer.train_dataset = [{"raw_prompt": [{"role": "user", "content": f"{number}?"}]} for number in range(2)]
    OmegaConf.update(
        trainer.config,
        "actor_rollout_ref.rollout.agent.agent_loop_config_path",
        str(tmp_path / "agent_loop.yaml"),
        force_add=True,
    )
    own = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    model = {"path": "m", "lora_rank": 0, "lora_adapter_path": None, "override_config": {}, "use_remove_padding": True}
    trainer.config.actor_rollout_ref.model = {**model, "custom_chat_template": own}
    trainer.config.actor_rollout_ref.actor = {"fsdp_config": {"model_dtype": "fp32"}}
    trainer.config.data = {}
    response = FirstResponse(np.array([7, 8, 9], np.int32), np.array([True, False, True]))
    trainer._values = SimpleNamespace(responses=[None, response])
    trainer.stream = SimpleNamespace(memory=ResponseMemory(prompts=2, max_bytes=1 << 20))
    trainer._remember_first_responses()
    stored = trainer.stream.memory.get(1)
    assert trainer.stream.memory.get(0) is None
    assert stored.mask.tolist() == [True, False, True]
    assert stored.response_ids.tolist() == [7, 8, 9]
    worded = Chat(trainer.tokenizer, {}, 0, wording=TOOL_WORDING).tokenize([[Message("user", "1?")]])
    assert stored.prompt_ids.tolist() == worded[0].tolist()
    assert trainer.tokenizer.chat_template == own
    monkeypatch.setattr(forward, "log_probs", None)
    trainer.stream = SimpleNamespace(memory=ResponseMemory(prompts=2, max_bytes=1 << 20))
    trainer._remember_first_responses()
    assert trainer.stream.memory.get(1).prompt_ids.tolist() == stored.prompt_ids.tolist(), "it is not computed twice"


def test_advantages_are_spread_over_their_own_responses_tokens() -> None:
    """Padding rows and tool tokens have no advantage."""
    import torch

    trainer = make_trainer(0)
    trainer._observed = SimpleNamespace(advantages=np.array([0.5, 0.0, -2.0]))
    mask = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
    advantages, returns = trainer._estimate_advantages(torch.zeros(3, 3), mask)
    assert advantages.tolist() == [[0.5, 0, 0.5], [0, 0, 0], [-2, -2, 0]]
    assert returns is advantages
