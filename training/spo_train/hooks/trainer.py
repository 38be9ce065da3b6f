"""SPO in verl's trainers: one mixin on the hooks of `verl.trainer.ppo.v1`; verl's `fit` is not copied.

    trainer.v1.trainer_mode=spo_sync              # or spo_colocate_async, spo_separate_async

`spo.single_stream` decides; the mixin only carries. It takes the drawn rows' prompts from verl's dataset, brings
responses and log-probs from TransferQueue to `observe` and `learn`, returns advantages through verl's registry, and
writes the state into each checkpoint before verl marks the checkpoint as complete.

The divergence compares log-probs of the trainer's own forward pass on both sides: a response is stored with its
`old_log_probs`, and when its prompt is drawn again a forward pass over the stored responses gives the current policy's.
In asynchronous modes samples may be older than the policy; "the policy that acted" is then the one that trained on
the response.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transfer_queue as tq
from omegaconf import open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1 import PPOTrainerColocateAsync, PPOTrainerSeparateAsync, PPOTrainerSync, register_trainer
from verl.utils import tensordict_utils
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.debug import marked_timer

from spo_data.models.chat import Chat
from spo_data.prompts.identity import prompt_id
from spo_train.data.loop_file import read_loop_wording
from spo_train.data.verl_files import ValuesFile, read_values_file
from spo_train.hooks import checkpoint, failures, first_visits, forward
from spo_train.hooks.agent_loop import DRAW
from spo_train.hooks.deadline import deadline
from spo_train.hooks.draw_order import AsyncInDrawOrder, SyncInDrawOrder, sort_by_draw
from spo_train.hooks.responses import Responses, messages, read_responses, response_metrics, verdict_metrics
from spo_train.hooks.validation import ValidationMixin
from spo_train.literal import from_literal
from spo_train.spo.divergence import measure_divergence
from spo_train.spo.settings import settings_from
from spo_train.spo.single_stream import Batch, SingleStream

PREFIX = "spo_"
MOST_REPLACED = 4
"""As multiples of the batch size: more failed responses in one step end the run, which would draw for ever."""


class SPOMixin(ValidationMixin):
    """What SPO changes in a trainer of verl; `PPOTrainer` documents the hooks."""

    global_steps: int
    trainer_mode: str
    timing_raw: dict[str, float]
    tokenizer: Any
    train_dataset: Any
    actor_rollout_wg: Any
    replay_buffer: Any

    def __init__(self, config: Any) -> None:
        self.settings = settings_from(dict(config.trainer.spo))
        if config.algorithm.use_kl_in_reward:
            raise ValueError("algorithm.use_kl_in_reward: a value is the expected reward without a penalty")
        mode = config.trainer.v1.trainer_mode.removeprefix(PREFIX)
        sampler = SyncInDrawOrder if mode == "sync" else AsyncInDrawOrder
        self._kept: int | None = config.trainer.max_actor_ckpt_to_keep
        with open_dict(config):
            config.trainer.max_actor_ckpt_to_keep = None  # `checkpoint.prune` deletes instead
            config.trainer.v1.trainer_mode = mode  # the base class compares with verl's own names
            place = {"path": f"pkg://{sampler.__module__}", "name": sampler.__name__}
            config.trainer.v1.sampler.custom_sampler = place
            config.trainer.v1.sampler.sampler_kwargs = {"whole_cohorts": self.settings.batch_order == "drawn"}
        self._observed: _ObservedBatch | None = None
        self._replaced = 0
        self._failures = failures.start()
        super().__init__(config)  # type: ignore[call-arg] # the trainer that is mixed in
        register_adv_est("spo")(self._estimate_advantages)

    def _init_dataloader(self) -> None:
        super()._init_dataloader()  # type: ignore[misc]
        prompt_ids = [
            prompt_id(messages(turns)) for turns in self.train_dataset.dataframe[self.train_dataset.prompt_key]
        ]
        self._values = self._read_offline_values(prompt_ids)
        self.stream = SingleStream(prompt_ids, self._values.totals, self._values.counts, self.settings)

    def on_init_end(self) -> None:
        """Store each prompt's response of the estimate with the first policy's log-probs, then sync weights."""
        measured = self.settings.method == "spo" and self.settings.fixed_rho is None
        if self.global_steps == 0 and measured and self.settings.first_visit == "samples":
            self._remember_first_responses()
        with deadline(self.config.actor_rollout_ref.nccl_timeout, "weight sync"):
            super().on_init_end()  # type: ignore[misc]

    def on_step_end(self) -> None:
        with deadline(self.config.actor_rollout_ref.nccl_timeout, "weight sync"):
            super().on_step_end()  # type: ignore[misc]

    def on_step_begin(self) -> None:
        self._replaced = 0
        super().on_step_begin()  # type: ignore[misc]

    def _next_train_batch(self, num_prompts: int | None = None) -> Any:
        """Return exactly the prompts that are asked for; the replay buffer asks for more if some failed."""
        if (reason := failures.why_given_up()) is not None:
            raise RuntimeError(reason)
        size = int(num_prompts or self.config.data.train_batch_size)
        alive = tq.kv_list("train") or {}
        lost = self.stream.forget_lost(set(alive.get("train", {})))
        self._replaced += lost
        if self._replaced > MOST_REPLACED * self.config.data.train_batch_size:
            raise RuntimeError(
                f"{self._replaced} responses of one step failed or grew stale: see the reasons above in this log"
            )
        draws = self.stream.draw(size, self.global_steps)
        rows = collate_fn([self.train_dataset[draw.row] for draw in draws])
        rows["uid"] = np.array([draw.uid for draw in draws], dtype=object)
        if self.trainer_mode == "sync":
            rows[DRAW] = torch.tensor([draw.number for draw in draws], dtype=torch.int64)
        batch = tensordict_utils.get_tensordict(rows)
        tensordict_utils.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        return batch

    def _balance_batch(self, batch: KVBatchMeta, *arguments: Any, **named: Any) -> KVBatchMeta:
        """Sort by draw before balancing, so that mini-batches do not depend on which response finished first."""
        batch.reorder(sort_by_draw(batch.keys))
        return super()._balance_batch(batch, *arguments, **named)  # type: ignore[misc]

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        """Observe the batch, return its advantages, and learn from it before the actor's update (Algorithm 1)."""
        observed = self._observed = self._observe(batch)
        metrics.update(response_metrics(observed.responses))
        metrics.update(verdict_metrics({**observed.responses.verdicts, **failures.take()}))
        batch = super()._compute_advantage(batch, metrics)  # type: ignore[misc]
        if self.settings.compat == "paper":
            self._learn(observed, metrics)
        return batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)  # type: ignore[misc]
        if self.settings.compat == "reference" and self._observed is not None:
            # The reference measures with the updated policy and stores its log-probs.
            self._learn(self._observed, metrics)
        return batch

    def _compute_metrics(
        self, batch: KVBatchMeta, metrics: dict[str, Any], timing_raw: dict[str, float], **named: Any
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, **named)  # type: ignore[misc]
        if self.settings.method == "spo":
            metrics["spo/divergence/share_of_step"] = timing_raw.get("spo_divergence", 0.0) / timing_raw["step"]

    def _save_checkpoint(self) -> None:
        """Write SPO's state first: verl marks the checkpoint as complete at the end."""
        place, step = self.config.trainer.default_local_dir, self.global_steps
        checkpoint.make_room(place, step, self._kept)
        checkpoint.save(self.stream.state(), checkpoint.folder_of(place, step))
        super()._save_checkpoint()  # type: ignore[misc]
        checkpoint.prune(place, step, self._kept)
        if self.settings.values is not None:
            first_visits.forget(Path(self.settings.values).parent)

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()  # type: ignore[misc]
        if self.global_steps > 0:
            folder = checkpoint.folder_of(self.config.trainer.default_local_dir, self.global_steps)
            if self.config.trainer.resume_mode == "resume_path":
                folder = checkpoint.folder_in(self.config.trainer.resume_from_path)
            self.stream.restore(checkpoint.load(folder))

    def _observe(self, batch: KVBatchMeta) -> "_ObservedBatch":
        responses = read_responses(batch)
        observed = self.stream.observe(responses.uids, responses.rewards)
        advantages = np.zeros(len(batch.keys))
        advantages[responses.places] = observed.advantages
        return _ObservedBatch(responses, observed, advantages)

    def _bypasses(self) -> bool:
        """Whether verl uses the engine's log-probs as `old_log_probs`."""
        return bool((self.config.algorithm.get("rollout_correction") or {}).get("bypass_mode", False))

    def _estimate_advantages(
        self, token_level_rewards: torch.Tensor, response_mask: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Spread each response's advantage over its tokens, in verl's interface of an advantage estimator."""
        assert self._observed is not None
        numbers = torch.as_tensor(self._observed.advantages, dtype=token_level_rewards.dtype)
        spread = numbers.unsqueeze(-1) * response_mask
        return spread, spread

    def _learn(self, observed: "_ObservedBatch", metrics: dict[str, Any]) -> None:
        divergences, given = None, observed.responses
        if self.settings.method == "spo":
            with marked_timer("spo_divergence", self.timing_raw, color="magenta"):
                divergences = self._measure_divergences(observed.batch.rows)
                log_probs = given.log_probs
                # With bypass these are the engine's log-probs, which differ from the trainer's by half of D_half.
                if self._bypasses() or self.settings.compat == "reference":
                    log_probs = self._forward(list(zip(given.prompts, given.responses, given.masks, strict=True)))
            parts = (observed.batch.rows.tolist(), given.prompts, given.responses, log_probs, given.masks)
            for row, prompt, response, numbers, mask in zip(*parts, strict=True):
                self.stream.memory.store(row, prompt, response, numbers, mask, step=self.global_steps)
        tokens = [len(response) for response in given.responses]
        metrics.update(self.stream.learn(observed.batch, divergences, tokens, policy=self.global_steps))

    def _measure_divergences(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return D of each row's prompt, from one forward pass over the stored responses."""
        if self.settings.fixed_rho is not None:
            return np.full(len(rows), np.nan)  # nothing depends on it
        found = self.stream.unknown_divergences(rows)
        known = np.flatnonzero(self.stream.memory.has_responses(rows))
        if not known.size:
            return found
        stored = [response for row in rows[known] if (response := self.stream.memory.get(int(row))) is not None]
        current = self._forward([(each.prompt_ids, each.response_ids, each.mask) for each in stored])
        for place, previous, now in zip(known.tolist(), stored, current, strict=True):
            own = previous.mask
            found[place] = measure_divergence(previous.log_probs[own], now[own], self.settings.divergence)
        return found

    def _forward(self, sequences: Sequence[forward.Tokens]) -> list[npt.NDArray[np.float32]]:
        rollout = self.config.actor_rollout_ref.rollout
        tokens = int(rollout.log_prob_max_token_len_per_gpu)
        return forward.log_probs(self.actor_rollout_wg, sequences, float(rollout.temperature), tokens)

    def _remember_first_responses(self) -> None:
        given = [(row, response) for row, response in enumerate(self._values.responses) if response is not None]
        kwargs = from_literal(self.config.data.get("apply_chat_template_kwargs") or {})
        template = self.config.actor_rollout_ref.model.get("custom_chat_template")
        if template is not None:  # verl gives it to a processor instead, if the model has one
            self.tokenizer.chat_template = template
        wording = read_loop_wording(Path(self.config.actor_rollout_ref.rollout.agent.agent_loop_config_path))
        chat = Chat(self.tokenizer, kwargs, context_length=0, wording=wording)
        prompts = chat.tokenize(messages(self.train_dataset[row]["raw_prompt"]) for row, _ in given)
        sequences = [
            (prompt, response.token_ids, response.own) for prompt, (_, response) in zip(prompts, given, strict=True)
        ]
        assert self.settings.values is not None
        out = Path(self.settings.values).parent
        decides = first_visits.what_decides(self.config, out)
        first_visits.remember(self.stream.memory, [row for row, _ in given], sequences, self._forward, out, decides)

    def _read_offline_values(self, prompt_ids: Sequence[str]) -> ValuesFile:
        """Read the values of the dataset's rows, in order; without a file there are no scores."""
        if self.settings.values is None:
            if self.settings.method == "spo":
                raise ValueError("trainer.spo.values: SPO needs a file of offline values")
            nothing = np.zeros(len(prompt_ids))
            return ValuesFile(tuple(prompt_ids), nothing, nothing.astype(np.int64), [None] * len(prompt_ids))
        values = read_values_file(Path(self.settings.values))
        if list(values.prompt_ids) != list(prompt_ids):
            raise ValueError(
                f"{self.settings.values} and data.train_files must hold the same prompts in the same order"
            )
        return values


@dataclass(frozen=True, slots=True)
class _ObservedBatch:
    """A batch between `observe` and `learn`."""

    responses: Responses
    batch: Batch
    advantages: npt.NDArray[np.float64]
    """One per row of verl's batch, 0 for padding."""


@register_trainer("spo_sync")
class SPOTrainerSync(SPOMixin, PPOTrainerSync):  # type: ignore[misc] # verl ships no types
    """Sampling and training take turns."""


@register_trainer("spo_colocate_async")
class SPOTrainerColocateAsync(SPOMixin, PPOTrainerColocateAsync):  # type: ignore[misc] # verl ships no types
    """Sampling and training take turns on the same devices; a later policy may finish a response."""


@register_trainer("spo_separate_async")
class SPOTrainerSeparateAsync(SPOMixin, PPOTrainerSeparateAsync):  # type: ignore[misc] # verl ships no types
    """Sampling and training run on different devices at once; a step updates after each part of its batch."""

    local_trigger_step: int
    """The index of the part within the step."""

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        if self.local_trigger_step == 0 and self._bypasses():
            self.actor_rollout_wg.save_model_to_cpu(0)  # verl does so only without bypass
        return super()._compute_old_log_prob(batch, metrics)

    def _forward(self, sequences: Sequence[forward.Tokens]) -> list[npt.NDArray[np.float32]]:
        """Run with the weights at the start of the step, as verl does for the `old_log_probs` of every part."""
        workers, part = self.actor_rollout_wg, self.local_trigger_step
        if part == 0 or self.settings.compat == "reference":
            return super()._forward(sequences)
        workers.save_model_to_cpu(part)
        workers.restore_model_from_cpu(0)
        try:
            return super()._forward(sequences)
        finally:
            workers.restore_model_from_cpu(part)
            workers.clear_cpu_model(part)
