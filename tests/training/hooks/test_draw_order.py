"""Which finished samples form a batch."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NO_EVICTIONS = (set(), set(), set(), Counter())


def make_buffer(kind: str, *, whole_cohorts: bool, statuses: dict[str, str]) -> Any:
    """A replay buffer that has seen these prompts in TransferQueue."""
    from spo_train.hooks import draw_order

    mode = "sync" if kind == "SyncInDrawOrder" else "colocate_async"
    buffer = getattr(draw_order, kind)(
        trainer_mode=mode,
        trainer_config={},
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs={"whole_cohorts": whole_cohorts},
        refill_fn=lambda count: count,
    )
    places = {"running": buffer.running_keys, "pending": buffer.pending_keys, "finished": buffer.finished_keys}
    for uid, status in statuses.items():
        places[status]["train"].add(uid)
        buffer.prompt_global_steps["train"][uid] = 1
    return buffer


STATUSES = {"draw2": "finished", "draw10": "finished", "draw9": "running", "draw30": "finished", "draw1": "finished"}


@pytest.mark.parametrize("kind", ["SyncInDrawOrder", "AsyncInDrawOrder"])
def test_the_first_drawn_come_first(kind: str) -> None:
    """verl sorts by step alone, so ties came in the order of a set, which differs from process to process."""
    buffer = make_buffer(kind, whole_cohorts=False, statuses=STATUSES)
    sampleable = buffer._sampleable_terminal_keys("train", NO_EVICTIONS)
    assert buffer._select_prompt_uids("train", sampleable, 3)[0] == ["draw1", "draw2", "draw10"]


def test_whole_cohorts_wait_for_the_slow_ones() -> None:
    """A sample drawn after one that is still running has to wait, so short responses have no advantage."""
    buffer = make_buffer("AsyncInDrawOrder", whole_cohorts=True, statuses=STATUSES)
    assert buffer._sampleable_terminal_keys("train", NO_EVICTIONS) == {"draw1", "draw2"}
    buffer.running_keys["train"].clear()
    assert len(buffer._sampleable_terminal_keys("train", NO_EVICTIONS)) == 4


def test_failed_prompts_are_replaced_in_every_mode() -> None:
    """In verl's sync mode a group that lost responses stayed. GRPO used a lone response's reward as its advantage."""
    for kind in ("SyncInDrawOrder", "AsyncInDrawOrder"):
        buffer = make_buffer(kind, whole_cohorts=False, statuses=STATUSES)
        buffer.failure_keys["train"].add("draw5")
        buffer.partitions["train"]["draw5_0_0"] = {"status": "success"}  # one of its responses was graded
        reasons = buffer._terminal_eviction_reasons(2, "train")
        assert reasons[2] == {"draw5"}
        assert "draw5" not in buffer._sampleable_terminal_keys("train", reasons)


@pytest.mark.parametrize("kind", ["SyncInDrawOrder", "AsyncInDrawOrder"])
def test_a_validation_without_a_sample_says_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """verl read a batch without keys, and the training run ended with "Received an empty list as keys"."""
    from verl.trainer.ppo.v1 import replay_buffer

    from spo_train.hooks.draw_order import NothingGradedError

    found = {"val": {uid: {"is_prompt": True, "status": "failure", "global_steps": 1} for uid in ("a", "b")}}
    monkeypatch.setattr(replay_buffer.tq, "kv_list", lambda: found)
    monkeypatch.setattr(replay_buffer.tq, "kv_clear", lambda **_: None)
    buffer = make_buffer(kind, whole_cohorts=False, statuses={})
    with pytest.raises(NothingGradedError, match="none of 2 prompts was sampled and graded"):
        buffer.sample(global_steps=1, partition_id="val", batch_size=2)
    found["val"]["a_0_0"] = {"status": "success"}
    batch, _ = buffer.sample(global_steps=1, partition_id="val", batch_size=2)
    assert batch.keys == ["a_0_0"]


@given(st.permutations([f"draw{number}_{session}_0" for number in range(12) for session in range(3)]))
def test_a_batch_is_in_one_order_whoever_finished_first(keys: list[str]) -> None:
    """Mini-batches are slices of the batch, so another order gives another update."""
    from spo_train.hooks.draw_order import sort_by_draw

    padded = [*keys[:5], "pad0123_0_0", *keys[5:]]
    ordered = [padded[place] for place in sort_by_draw(padded)]
    assert ordered == [f"draw{number}_{session}_0" for number in range(12) for session in range(3)] + ["pad0123_0_0"]
