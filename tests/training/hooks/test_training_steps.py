"""Three training steps of verl's own trainer with SPO, against numbers that were computed by hand.

Only the model, its responses and TransferQueue are scripted. Four prompts of five are drawn in each step: the fifth
has value 0, so weight 0. verl pads each batch of four to six rows. Row 2's first response cannot be graded, and is
drawn again. Row 1 uses tools, whose output moves a thousand times further than the policy's own tokens.

With v the baselines, a = (r - v - mean) / (std + 1e-8), std with n - 1 (equation 9); rho = 2^(-D / 0.06) in
[0.875, 0.96], alpha' = rho alpha + r, beta' = rho beta + 1 - r. D is how far the policy has moved since the prompt's
previous response: 0 in the first step, one update in the others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from support.scripted_training import FAST, LEAP, MOVES, SLOW, TOOL, Scripted, ScriptedQueue, make_trainer, write_values

TOTALS = [2, 4, 6, 4, 0]
"""Of eight scores each, so alpha and beta begin as these and as the rest of eight."""
RESPONSES = {
    0: [Scripted([SLOW, SLOW], 1), Scripted([FAST], 0, truncated=True), Scripted([SLOW], 1)],
    1: [
        Scripted([FAST, TOOL, TOOL, FAST], 0),
        Scripted([SLOW, TOOL, SLOW], 1),
        Scripted([TOOL, SLOW], 1),
    ],
    2: [Scripted([LEAP], None), Scripted([SLOW, FAST], 0.5), Scripted([SLOW, SLOW, SLOW], 1), Scripted([FAST], 0)],
    3: [Scripted([LEAP, LEAP], 1), Scripted([FAST, FAST, SLOW], 0.5), Scripted([SLOW], 0)],
    4: [Scripted([SLOW], 0)],
}
BASELINES = [
    [0.25, 0.5, 0.75, 0.5],
    [0.336406, 0.442396, 0.721198, 0.557604],
    [0.300221, 0.504832, 0.751796, 0.550902],
]
ADVANTAGES = [
    [1.050210, -1.050210, -0.630126, 0.630126],
    [-1.146278, 1.146278, 0.431331, -0.431331],
    [0.994889, 0.714774, -0.992345, -0.717317],
]
DIVERGENCES = [[0, 0, 0, 0], [1 / 256, 1 / 128, 1.5 / 256, 1 / 16], [1 / 128, 1 / 256, 1 / 256, 5 / 768]]
RHOS = [[0.96] * 4, [0.955876, 0.913699, 0.934550, 0.875], [0.913699, 0.955876, 0.955876, 0.927547]]
ALPHAS = [
    [2.92, 3.84, 6.26, 4.84],
    [2.791159, 4.508606, 6.850283, 4.735],
    [3.550280, 5.309670, 6.548023, 4.391937],
]
BETAS = [
    [5.76, 4.84, 2.42, 3.84],
    [6.505847, 4.422306, 2.261611, 3.86],
    [5.944390, 4.227177, 3.161820, 4.580333],
]
REWARDS = [[1, 0, 0.5, 1], [0, 1, 1, 0.5], [1, 1, 0, 0]]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> ScriptedQueue:
    from spo_train.hooks import forward

    queue = ScriptedQueue()
    queue.install(monkeypatch)
    monkeypatch.setattr(forward, "ROWS", 3)  # the previous responses of a batch take two passes
    return queue


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which a trainer took the estimate's responses into its memory; there are none here."""
    from spo_train.hooks.trainer import SPOMixin

    steps: list[int] = []
    monkeypatch.setattr(SPOMixin, "_remember_first_responses", lambda trainer: steps.append(trainer.global_steps))
    return steps


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The keys of each batch that verl balanced, in the order it got them."""
    from verl.trainer.ppo.v1 import PPOTrainer

    given: list[list[str]] = []
    balance = PPOTrainer._balance_batch

    def note(trainer: Any, batch: Any, *more: Any, **named: Any) -> Any:
        given.append(list(batch.keys))
        return balance(trainer, batch, *more, **named)

    monkeypatch.setattr(PPOTrainer, "_balance_batch", note)
    return given


def start(
    out: Path,
    queue: ScriptedQueue,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    responses: Mapping[int, Sequence[Scripted]] = RESPONSES,
    method: str = "spo",
) -> Any:
    """A trainer that verl has set up."""
    if not (out / "values.parquet").exists():
        write_values(out / "values.parquet", TOTALS, count=8)
    trainer = make_trainer(out, queue, responses, monkeypatch, *overrides, method=method)
    trainer._load_checkpoint()
    trainer.on_init_end()
    return trainer


def train(trainer: Any, step: int) -> dict[str, Any]:
    """One step as verl's `fit` does it; returns its metrics."""
    import transfer_queue as tq

    metrics: dict[str, Any] = {}
    trainer.global_steps = step
    trainer.on_step_begin()
    batch = trainer.step(metrics, trainer.timing_raw)
    tq.kv_clear(keys=batch.keys, partition_id="train")
    return metrics


def graded(row: int) -> list[Scripted]:
    return [response for response in RESPONSES[row] if response.reward is not None]


def check_step(trainer: Any, step: int, metrics: dict[str, Any]) -> None:
    """Advantages, tracker and metrics are those computed by hand, and nothing but the four prompts was touched."""
    at = step - 1
    tracker, workers = trainer.stream.tracker, trainer.actor_rollout_wg
    np.testing.assert_allclose(tracker.alpha, [*ALPHAS[at], 0], atol=2e-6)
    np.testing.assert_allclose(tracker.beta, [*BETAS[at], 8], atol=2e-6)
    assert tracker.visits.tolist() == [step] * 4 + [0]
    assert workers.learnt == 4 * step, "the tracker learns once, before the actor's update"
    assert workers.padding == [[0.0], [0.0]]
    assert sorted(workers.advantages) == [0, 1, 2, 3]
    for row, given in workers.advantages.items():
        tokens = graded(row)[at].tokens
        expected = [0.0 if token == TOOL else ADVANTAGES[at][row] for token in tokens]
        assert given == pytest.approx(expected, abs=2e-6), f"row {row}"
    assert metrics["spo/reward"] == pytest.approx(np.mean(REWARDS[at]))
    assert metrics["spo/baseline"] == pytest.approx(np.mean(BASELINES[at]), abs=2e-6)
    assert metrics["spo/rho"] == pytest.approx(np.mean(RHOS[at]), abs=2e-6)
    assert metrics["spo/divergence"] == pytest.approx(np.mean(DIVERGENCES[at]), abs=1e-9)
    assert metrics["spo/truncated"] == (0.25 if step == 2 else 0)
    assert sum(metrics[f"spo/verdict_total/{verdict}"] for verdict in ("correct", "wrong")) == 4
    assert metrics.get("spo/verdict_total/grader_error", 0) == (step == 1)
    assert not trainer.agent_loop_manager.queue.fields["spo"], "what our forward passes put there"


def test_three_steps_are_those_computed_by_hand(
    tmp_path: Path, queue: ScriptedQueue, orders: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What carries the numbers between verl and SPO could be wrong while the numbers of each part were right.

    Advantages without a baseline; a tracker that learns 1 - r or the advantage, or ignores rho; D over tool tokens, or
    always 0; padding that is learnt from; learning twice, or after the actor's update.
    """
    trainer = start(tmp_path, queue, monkeypatch)
    evicted = []
    for step in (1, 2, 3):
        metrics = train(trainer, step)
        check_step(trainer, step, metrics)
        evicted.append(metrics.get("training/rollout_failure/evicted_samples", 0))
        for row in range(4):
            stored = trainer.stream.memory.get(row)
            tokens = graded(row)[step - 1].tokens
            assert (stored.step, stored.response_ids.tolist()) == (step, list(tokens))
            assert stored.mask.tolist() == [token != TOOL for token in tokens]
            moved = [1 + (step - 1) * MOVES[token] for token in tokens]
            assert stored.log_probs.tolist() == [-number for number in moved]
        assert not trainer.stream.in_flight
    assert evicted == [1, 0, 0]
    assert trainer.actor_rollout_wg.passes == 1 + 3 + 3, "verl's over the batch, and ours over the previous responses"
    assert len(orders) == 3
    assert all(order == sorted(order, key=lambda key: int(key[4:].split("_")[0])) for order in orders)
    assert trainer.stream.memory.get(4) is None


def test_a_training_continues_from_its_checkpoint_as_if_it_had_not_stopped(
    tmp_path: Path, queue: ScriptedQueue, remembered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """verl takes a checkpoint as complete once its marker names it, so SPO's state must be there before."""
    first = start(tmp_path, queue, monkeypatch)
    checkpoints = tmp_path / "checkpoints"
    state, marker = (
        checkpoints / "global_step_2" / "spo" / "state.npz",
        checkpoints / "latest_checkpointed_iteration.txt",
    )
    seen = []
    save = first.actor_rollout_wg.save_checkpoint
    first.actor_rollout_wg.save_checkpoint = lambda *given, **named: (
        seen.append((state.exists(), marker.exists())),
        save(*given, **named),
    )
    for step in (1, 2):
        train(first, step)
    first._save_checkpoint()
    assert seen == [(True, False)]
    assert marker.read_text() == "2"
    train(first, 3)

    elsewhere = ("trainer.resume_mode=resume_path", f"trainer.resume_from_path={checkpoints / 'global_step_2'}")
    for out, overrides in ((tmp_path / "elsewhere", elsewhere), (tmp_path, ())):
        second = start(out, queue, monkeypatch, *overrides)
        assert second.global_steps == 2
        second.agent_loop_manager.asked.update({0: 2, 1: 2, 2: 3, 3: 2})
        metrics = train(second, 3)
        metrics["spo/verdict_total/grader_error"] = 0  # each trainer is told of one in its first step
        check_step(second, 3, metrics)
        for name, array in first.stream.state().items():
            np.testing.assert_array_equal(array, second.stream.state()[name], err_msg=name)
    assert remembered == [0]

    second._save_checkpoint()
    assert state.exists()
    second.global_steps = 4
    second._save_checkpoint()
    assert sorted(path.name for path in checkpoints.glob("global_step_*")) == ["global_step_3", "global_step_4"]


def test_a_step_whose_responses_all_fail_ends_the_training(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failed response is replaced, four times the batch at most, and the next step counts anew."""
    failing = {row: [Scripted([SLOW], None)] * 9 for row in RESPONSES}
    trainer = start(tmp_path, queue, monkeypatch, responses=failing)
    with pytest.raises(RuntimeError, match="20 responses of one step failed or grew stale"):
        train(trainer, 1)
    trainer.on_step_begin()
    assert trainer._next_train_batch(1)["uid"] == ["draw20"]


def test_the_reference_learns_after_the_update(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compat: reference` measures with the updated policy, and stores its log-probs."""
    trainer = start(tmp_path, queue, monkeypatch, "trainer.spo.compat=reference")
    train(trainer, 1)
    assert trainer.actor_rollout_wg.learnt == 0
    assert trainer.stream.tracker.visits.sum() == 4
    for row in trainer.actor_rollout_wg.advantages:
        stored = trainer.stream.memory.get(row)
        assert stored.log_probs.tolist() == [-1 - MOVES[token] for token in stored.response_ids.tolist()]


def test_a_response_that_the_memory_dropped_counts_as_old(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path, queue, monkeypatch, "trainer.spo.memory_gib=1e-9")
    assert [train(trainer, step)["spo/rho"] for step in (1, 2)] == pytest.approx([0.96, 0.875])


def test_the_engines_log_probs_are_not_what_is_remembered(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bypass verl takes the engine's for its own; half of D_half lies between them and the trainer's."""
    trainer = start(tmp_path, queue, monkeypatch, "algorithm.rollout_correction.bypass_mode=true")
    train(trainer, 1)
    assert [trainer.stream.memory.get(row).log_probs.tolist() for row in (0, 2)] == [[-1, -1], [-1, -1]]


def test_other_methods_have_no_baseline_and_measure_nothing(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tmp_path, queue, monkeypatch, method="no-baseline")
    metrics = train(trainer, 1)
    assert metrics["spo/baseline"] == 0
    assert "spo/rho" not in metrics
    assert trainer.actor_rollout_wg.passes == 1
    assert len(trainer.stream.memory) == 0


def test_values_in_another_order_are_refused(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are joined by their order: each prompt would have had another's value."""
    write_values(tmp_path / "values.parquet", TOTALS, count=8)
    table = pq.read_table(tmp_path / "values.parquet")
    pq.write_table(table.take([1, 0, 2, 3, 4]), tmp_path / "values.parquet")
    with pytest.raises(ValueError, match="must hold the same prompts in the same order"):
        start(tmp_path, queue, monkeypatch)
