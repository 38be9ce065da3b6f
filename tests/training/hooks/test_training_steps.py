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
import pytest

from support.scripted_training import FAST, LEAP, MOVES, SLOW, TOOL, Scripted, ScriptedQueue, make_trainer, write_values

TOTALS = [2, 4, 6, 4, 0]
"""Of eight scores each, so alpha and beta begin as these and as the rest of eight."""
RESPONSES = {
    0: [Scripted([SLOW, SLOW], 1), Scripted([FAST], 0), Scripted([SLOW], 1)],
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
    queue = ScriptedQueue()
    queue.install(monkeypatch)
    return queue


def start(
    out: Path,
    queue: ScriptedQueue,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    responses: Mapping[int, Sequence[Scripted]] = RESPONSES,
) -> Any:
    settings = ["trainer.spo.exploration=0", "trainer.spo.first_visit=none", "data.train_batch_size=4"]
    settings += ["actor_rollout_ref.actor.ppo_mini_batch_size=3", "trainer.resume_mode=auto"]
    if not (out / "values.parquet").exists():
        write_values(out / "values.parquet", TOTALS, count=8)
    trainer = make_trainer(out, queue, responses, monkeypatch, *settings, *overrides)
    trainer._load_checkpoint()
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
    assert sum(metrics[f"spo/verdict_total/{verdict}"] for verdict in ("correct", "wrong")) == 4


def test_three_steps_are_those_computed_by_hand(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fourteen mutations of the code that carries numbers between verl and SPO survived the tests.

    Among them: advantages without a baseline, a tracker that learns 1 - r or the advantage, or ignores rho; D over tool
    tokens, or always 0; padding that is learnt from; learning twice, or after the actor's update.
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
    assert trainer.actor_rollout_wg.passes == 1 + 2 + 2, "verl's over the batch, and ours over the previous responses"
    assert trainer.stream.memory.get(4) is None


def test_a_training_continues_from_its_checkpoint_as_if_it_had_not_stopped(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
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

    second = start(tmp_path, queue, monkeypatch)
    second.agent_loop_manager.asked.update({0: 2, 1: 2, 2: 3, 3: 2})
    assert second.global_steps == 2
    check_step(second, 3, train(second, 3))
    for name, array in first.stream.state().items():
        np.testing.assert_array_equal(array, second.stream.state()[name], err_msg=name)


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
