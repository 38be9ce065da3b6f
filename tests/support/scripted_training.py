"""What a training step of verl needs besides its trainer: a queue, sampled responses, and a policy that moves.

    queue = ScriptedQueue()
    queue.install(monkeypatch)                    # verl's and our `transfer_queue` calls go to it
    trainer = make_trainer(tmp_path, queue, responses, monkeypatch)
    trainer.step(metrics, timing)                 # verl's own step, around our hooks

The trainer, its replay buffer, its padding and its advantages are verl's, for three ranks. The policy's log-prob of a
token is -1 at first, and each update of the actor lowers it by the token's `MOVES`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.prompts.identity import Message, prompt_id
from support.made_checkpoints import write_shards

SLOW, FAST, LEAP, TOOL = 2, 3, 5, 1000
MOVES = {SLOW: 1 / 256, FAST: 1 / 128, LEAP: 1 / 16, TOOL: 8.0}
"""How far one update moves a token's log-prob; float16 holds each exactly."""
SETTINGS = ("actor_rollout_ref.rollout.temperature=0.5", "trainer.spo.exploration=0", "data.train_batch_size=4")
SETTINGS += ("actor_rollout_ref.actor.ppo_mini_batch_size=3", "trainer.resume_mode=auto")
RANKS = 3
TEMPERATURE = 0.5
ENGINE_LOG_PROB = -1.25
"""What the engine says of each token; the trainer's forward pass says something else."""
FIRST_PROMPT = 90
"""The first token of row 0's prompt; row 1's is one more."""


@dataclass(frozen=True)
class Scripted:
    """A response: its tokens (tool output included) and its reward, or None if it cannot be graded."""

    tokens: Sequence[int]
    reward: float | None
    truncated: bool = False


class ScriptedQueue:
    """TransferQueue's key-value calls over dictionaries in this process."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.tags: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import transfer_queue

        for name in ("kv_batch_put", "kv_batch_get", "kv_list", "kv_clear"):
            monkeypatch.setattr(transfer_queue, name, getattr(self, name))

    def kv_batch_put(self, keys: Sequence[str], partition_id: str, fields: Any = None, tags: Any = None) -> Any:
        from transfer_queue import KVBatchMeta

        for name in () if fields is None else fields.keys():
            column = fields.get(name)
            for key, row in zip(keys, column.unbind() if _is_tensor(column) else column.tolist(), strict=True):
                self.fields[partition_id].setdefault(key, {})[name] = row
        for key, tag in zip(keys, tags or (), strict=tags is not None):
            self.tags[partition_id].setdefault(key, {}).update(tag)
        kept = self.tags[partition_id]
        return KVBatchMeta(partition_id=partition_id, keys=list(keys), tags=[kept[key] for key in keys])

    def kv_batch_get(self, keys: Sequence[str], partition_id: str, select_fields: Sequence[str] | None = None) -> Any:
        from tensordict import TensorDict

        rows = [self.fields[partition_id][key] for key in keys]
        known = {name for row in rows for name in row}
        names = [name for name in (known if select_fields is None else select_fields) if name in known]
        if empty := [name for name in names if any(name not in row for row in rows)]:
            raise ValueError(f"some of {keys} have no {empty}")
        return TensorDict({name: _pack([row[name] for row in rows]) for name in names}, batch_size=len(rows))

    def kv_list(self, partition_id: str | None = None) -> dict[str, dict[str, Any]]:
        return {name: dict(tags) for name, tags in self.tags.items() if partition_id in (None, name) and tags}

    def kv_clear(self, keys: Sequence[str], partition_id: str) -> None:
        for key in keys:
            self.fields[partition_id].pop(key, None)
            self.tags[partition_id].pop(key, None)


@dataclass
class ScriptedWorkers:
    """verl's worker group: the policy, and what its last update was given."""

    queue: ScriptedQueue
    updates: int = 0
    advantages: dict[int, list[float]] = field(default_factory=dict)
    """What the last update got for each row's response, one number per token."""
    padding: list[list[float]] = field(default_factory=list)
    """The same for the responses that only pad the batch."""
    passes: int = 0
    """Forward passes so far."""
    learnt: int = 0
    """Responses that the tracker had learnt from when the actor was last updated."""
    trainer: Any = None
    _dispatch_info: dict[str, list[int]] = field(default_factory=lambda: {"actor": list(range(RANKS))})

    def compute_log_prob(self, batch: Any) -> Any:
        """Put the log-probs of prompt and response, each at the place before its token as verl's models do."""
        import torch

        self.passes += 1
        assert len(batch.keys) % RANKS == 0
        assert batch.extra_info["temperature"] == TEMPERATURE
        for key in batch.keys:
            row = self.queue.fields[batch.partition_id][key]
            ids = row["input_ids"].tolist()
            numbers = [-1.0 - self.updates * MOVES.get(token, 0.0) for token in ids]
            row["log_probs"] = torch.tensor([*numbers[1:], 0.0])
            row["entropy"] = torch.zeros(len(ids))
        return batch

    def update_actor(self, batch: Any) -> dict[str, Any]:
        self.learnt = int(self.trainer.stream.tracker.visits.sum())
        self.advantages, self.padding = {}, []
        for key, tag in zip(batch.keys, batch.tags, strict=True):
            numbers = self.queue.fields["train"][key]["advantages"].tolist()
            if tag.get("is_padding"):
                self.padding.append(numbers)
            else:
                self.advantages[int(self.queue.fields["train"][key]["prompts"][0]) - FIRST_PROMPT] = numbers
        self.updates += 1
        return {"metrics": {"mfu": 0.0}}

    def save_checkpoint(self, path: str, *_: Any, **__: Any) -> None:
        write_shards(Path(path), RANKS)
        (Path(path) / "updates").write_text(str(self.updates))

    def load_checkpoint(self, local_path: str, **_: Any) -> None:
        self.updates = int((Path(local_path) / "updates").read_text())


@dataclass
class ScriptedRollouts:
    """verl's agent loops: each prompt gets its next scripted response at once, the last prompt first."""

    queue: ScriptedQueue
    responses: Mapping[int, Sequence[Scripted]]
    """The responses of each row, in the order in which they are asked for."""
    asked: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def generate_sequences(self, batch: Any) -> None:
        from spo_train.hooks.agent_loop import DRAW

        draws = list(zip(batch["uid"], batch["index"], batch[DRAW].tolist(), strict=True))
        for uid, row, number in reversed(draws):
            assert uid == f"draw{number}"
            scripted = self.responses[row][self.asked[row]]
            self.asked[row] += 1
            graded = scripted.reward is not None
            tag = {"status": "finished" if graded else "failure"}
            self.queue.kv_batch_put([uid], "train", tags=[tag])
            if graded:
                self._put(uid, row, scripted)

    def _put(self, uid: str, row: int, scripted: Scripted) -> None:
        import torch
        from verl.utils.tensordict_utils import list_of_dict_to_tensordict

        prompts, responses = torch.tensor([FIRST_PROMPT + row, 1]), torch.tensor(list(scripted.tokens))
        own = (responses != TOOL).long()
        ids, scores = torch.cat([prompts, responses]), torch.zeros(len(responses))
        scores[-1] = scripted.reward
        fields = {
            "uid": uid,
            "prompts": prompts,
            "responses": responses,
            "response_mask": own,
            "loss_mask": own,
            "input_ids": ids,
            "position_ids": torch.arange(len(ids)),
            "rm_scores": scores,
            "rollout_log_probs": torch.full((len(responses),), ENGINE_LOG_PROB),
            "multi_modal_inputs": {},
            "extra_fields": {
                "truncated": scripted.truncated,
                "reward_extra_info": {"verdict": "correct" if scripted.reward else "wrong"},
            },
        }
        tag = {"status": "success", "prompt_len": 2, "response_len": len(responses), "seq_len": len(ids)}
        self.queue.kv_batch_put([f"{uid}_0_0"], "train", fields=list_of_dict_to_tensordict([fields]), tags=[tag])


class ScriptedDataset:
    """verl's dataset of `prompts` prompts, whose messages are their numbers."""

    prompt_key = "prompt"

    def __init__(self, prompts: int) -> None:
        self.dataframe = {"prompt": [[{"role": "user", "content": str(row)}] for row in range(prompts)]}

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"index": row, "raw_prompt": self.dataframe["prompt"][row]}


def make_trainer(
    out: Path,
    queue: ScriptedQueue,
    responses: Mapping[int, Sequence[Scripted]],
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    method: Any = "spo",
) -> Any:
    """Make verl's sync trainer with SPO for the prompts of `values.parquet` in `out`; nothing is started.

    In its first step one grading failure was counted.
    """
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
    from verl.trainer.ppo.v1 import PPOTrainerSync

    from spo_train.config.compose import parse_overrides
    from spo_train.config.train_choice import Choice
    from spo_train.hooks import failures
    from spo_train.hooks.trainer import SPOTrainerSync
    from spo_train.plan.composition import compose_choice

    choice = Choice(method, "demo", "none", out, len(responses), longest_prompt=2, gpus_per_node=1, attention_heads=1)
    counted = [{"grader_error": 1}]
    monkeypatch.setattr(failures, "start", lambda: None)
    monkeypatch.setattr(failures, "take", lambda: counted.pop() if counted else {})
    monkeypatch.setattr(PPOTrainerSync, "_init_dataloader", lambda _: None)
    monkeypatch.delitem(ADV_ESTIMATOR_REGISTRY, "spo", raising=False)  # verl takes one of a name in a process
    trainer = SPOTrainerSync(compose_choice(choice, parse_overrides((*SETTINGS, *overrides)), on_cpu=True))
    trainer.train_dataset = ScriptedDataset(len(responses))
    trainer.train_dataloader = SimpleNamespace(state_dict=dict, load_state_dict=lambda _: None)
    trainer.tokenizer = SimpleNamespace(eos_token_id=0)
    trainer.actor_rollout_wg = ScriptedWorkers(queue, trainer=trainer)
    trainer.agent_loop_manager = ScriptedRollouts(queue, responses)
    trainer.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=())
    trainer.checkpoint_manager = SimpleNamespace(sleep_replicas=lambda: None, update_weights=lambda _: None)
    trainer.checkpoint_callback = SimpleNamespace(on_save=lambda **_: None)
    trainer.replay_buffer.poll_interval = 0.01
    trainer.curr_step_profile, trainer.global_steps, trainer.timing_raw = False, 0, {}
    trainer._init_dataloader()
    return trainer


def write_values(path: Path, totals: Sequence[float], count: int) -> None:
    """Write the `values.parquet` of `ScriptedDataset`'s prompts: the total of each one's `count` scores."""
    prompts, own = len(totals), pa.list_(pa.bool_())
    columns = {
        "prompt_id": pa.array([prompt_id([Message("user", str(row))]) for row in range(prompts)]),
        "score_total": pa.array(totals, pa.float64()),
        "score_count": pa.array(np.full(prompts, count)),
        "response_ids": pa.nulls(prompts, pa.list_(pa.int32())),
        "response_mask": pa.nulls(prompts, own),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _pack(values: list[Any]) -> Any:
    """Tensors become a jagged one, as in TransferQueue, even if all have the same length."""
    import torch
    from tensordict import NonTensorStack

    if not _is_tensor(values[0]):
        return NonTensorStack(*values)
    return torch.nested.as_nested_tensor(values, layout=torch.jagged) if values[0].dim() else torch.stack(values)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
