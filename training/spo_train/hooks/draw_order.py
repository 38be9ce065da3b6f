"""verl's replay buffers, in the order in which prompts were drawn.

    trainer.v1.sampler.custom_sampler={path: pkg://spo_train.hooks.draw_order, name: AsyncInDrawOrder}
    trainer.v1.sampler.sampler_kwargs={whole_cohorts: false}

Finished samples are taken in the order of their draws, so a batch does not depend on the order of a dictionary.

`whole_cohorts` removes the length bias of asynchronous batches, in which short samples finish first: a sample is taken
only when all samples drawn before it have ended.

If a response fails, its prompt is replaced in every mode, with its whole group. verl's sync mode would keep the rest of
the group, and GRPO would use the reward of a single remaining response as its advantage.
"""

from collections.abc import Sequence
from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from spo_train.spo.single_stream import UID

UNNUMBERED = -1
"""The draw number of validation prompts and padding."""


class NothingGradedError(Exception):
    """No sample of a validation batch was graded."""


class _InDrawOrder(ReplayBuffer):
    def __init__(self, *, sampler_kwargs: Any, **named: Any) -> None:
        super().__init__(sampler_kwargs=sampler_kwargs, gen_batch_size=1, sync_refill_failed_groups=True, **named)
        self._whole_cohorts = bool(sampler_kwargs.get("whole_cohorts", False))

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> Any:
        """Take a batch as verl does; raises NothingGradedError if every sample of a validation batch failed."""
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if partition_id == "val" and not batch.keys:
            raise NothingGradedError(f"none of {batch_size:,} prompts was sampled and graded: see the reasons above")
        return batch, metrics

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> Any:
        stale, filtered, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)
        return stale, filtered, failed if partition_id == "val" else set(self.failure_keys[partition_id]), counts

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        _, *snapshots = super()._select_prompt_uids(partition_id, sampleable_keys, batch_size)
        return sorted(sampleable_keys, key=draw_number)[:batch_size], *snapshots


class SyncInDrawOrder(_InDrawOrder):
    """For verl's `sync` mode."""


class AsyncInDrawOrder(_InDrawOrder, ReplayBufferAsync):
    """For verl's asynchronous modes."""

    def _sampleable_terminal_keys(self, partition_id: str, eviction_reasons: Any) -> set[str]:
        sampleable: set[str] = super()._sampleable_terminal_keys(partition_id, eviction_reasons)
        unfinished = self.pending_keys[partition_id] | self.running_keys[partition_id]
        if not self._whole_cohorts or not unfinished:
            return sampleable
        oldest = min(map(draw_number, unfinished))
        return {uid for uid in sampleable if draw_number(uid) < oldest or draw_number(uid) == UNNUMBERED}


def draw_number(key: str) -> int:
    """Return the draw number in a key, 17 for `draw17` or `draw17_0_0`; UNNUMBERED without one."""
    uid = key.split("_", 1)[0]
    return int(uid.removeprefix(UID)) if uid.startswith(UID) else UNNUMBERED


def sort_by_draw(keys: Sequence[str]) -> list[int]:
    """Return the indices that sort a batch's keys by draw, session and output; unnumbered keys come last."""
    return sorted(range(len(keys)), key=lambda place: _make_sort_key(keys[place]))


def _make_sort_key(key: str) -> tuple[bool, int, list[int]]:
    number = draw_number(key)
    parts = [] if number == UNNUMBERED else [int(part) for part in key.split("_")[1:]]
    return number == UNNUMBERED, number, parts
