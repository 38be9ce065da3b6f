"""`spo-train` as a user runs it: real values, real verl, real vLLM, on the CPU.

Every case starts verl's processes anew, which takes most of its time; so each shows several things. The first one is in
`make test`, the others in `make test-long`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from two_layer_model import make_two_layer_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

BIN = Path(sys.executable).parent
PROMPTS = 24
RESPONSE_TOKENS = 40
VERIFIER = """
import os

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if solution_str and solution_str[0] in os.environ.get("CRASH_ON", ""):
        os._exit(1)
    return float(ground_truth in solution_str)
"""


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, prompts, a reward function, and `run`: values that the real engine made."""
    folder = tmp_path_factory.mktemp("train")
    make_two_layer_model(folder / "model")
    (folder / "verifier.py").write_text(VERIFIER)
    rows = [{"prompt": f"say {n} twice", "answer": chr(ord("a") + n)} for n in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = "--model model --dataset prompts.jsonl --template none --n 4 --out run --enforce-eager --max-tokens"
    command = f"spo-data estimate {options} {RESPONSE_TOKENS} --verifier verifier.py:compute_score"
    done = run(folder, *command.split())
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(folder: Path, program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BIN / program), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def train(folder: Path, out: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = run(folder, "spo-train", "--out", out, *arguments, **environment)
    if done.returncode != 0:
        log = folder / out / "verl.log"
        print(log.read_text()[-5000:] if log.exists() else "no log")
    return done


def steps(folder: Path, out: str) -> dict[int, dict[str, Any]]:
    """The metrics of each step, those of a repeated one as written last."""
    lines = (folder / out / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry["data"] for entry in map(json.loads, lines)}


def state(folder: Path, out: str, step: int) -> dict[str, np.ndarray]:
    from spo_train import checkpoint

    return checkpoint.load(checkpoint.folder_of(folder / out / "checkpoints", step))


def verl_processes(folder: Path) -> list[str]:
    """Processes that a training in this folder left behind."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "name"]):
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if str(folder) in environment.get("VERL_FILE_LOGGER_PATH", ""):
            found.append(process.info["name"])
    return found


def test_spo_from_a_run_of_our_own(work: Path) -> None:
    """The issue's second command: from values that were just estimated, with the values' own policy."""
    done = train(
        work,
        "spo",
        "--offline-values",
        "run",
        "data.train_batch_size=7",
        "trainer.total_training_steps=3",
        "trainer.save_freq=2",
        "trainer.max_actor_ckpt_to_keep=1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{PROMPTS} of {PROMPTS} prompts have a value by prompt id" in done.stdout
    assert "step 3/3" in done.stderr
    assert "verl runs on the CPU" in done.stdout

    metrics = steps(work, "spo")
    assert sorted(metrics) == [1, 2, 3]
    totals, counts = values_of_the_run(work)
    first = metrics[1]
    assert first["spo/visits"] == 0
    assert first["spo/n_eff"] == pytest.approx(8)
    # The first visits' divergence is from the estimate's own responses, under the weights that made them.
    assert first["spo/divergence"] == pytest.approx(0, abs=2e-3)
    assert first["spo/rho"] == pytest.approx(0.96)
    assert metrics[3]["spo/divergence"] > first["spo/divergence"]
    for data in metrics.values():
        verdicts = {name: data[f"spo/verdict_total/{name}"] for name in ("correct", "wrong", "truncated", "no_answer")}
        assert sum(verdicts.values()) == 7  # the batch exactly, and none of the rows that pad it
        assert data["spo/reward"] == pytest.approx(verdicts["correct"] / 7)
        assert 0 < data["spo/divergence/share_of_step"] < 1
        # Engine and trainer are the same policy: in float32 they agree.
        assert data["training/rollout_probs_diff_mean"] < 1e-4

    # The tracker is what the paper's formulas make of the draws, from the values of the run.
    saved = state(work, "spo", 3)
    assert saved["tracker.visits"].sum() == 21
    untouched = saved["tracker.visits"] == 0
    np.testing.assert_allclose(saved["tracker.alpha"][untouched], 8 * (totals / counts)[untouched])
    np.testing.assert_allclose((saved["tracker.alpha"] + saved["tracker.beta"])[untouched], 8)
    assert len(saved["memory.rows"]) == PROMPTS  # one response of the estimate each, or a newer one
    # verl keeps one model, and the older tracker went with the older model.
    assert not (work / "spo" / "checkpoints" / "global_step_2" / "spo").exists()
    assert verl_processes(work / "spo") == []


def values_of_the_run(work: Path) -> tuple[np.ndarray, np.ndarray]:
    from spo_train.training_files import read_values_file

    values = read_values_file(work / "spo" / "values.parquet")
    return values.totals, values.counts


@pytest.mark.long
def test_a_killed_run_continues_as_the_uninterrupted_one(work: Path) -> None:
    """SIGKILL of everything at once; then the same prompts, baselines and trackers, and a model within rounding.

    The killed run's own later steps are the comparison: it is resumed from the checkpoint of step 2, and does steps 3
    and 4 again.
    """
    arguments = ["--offline-values", "run", "data.train_batch_size=8", "trainer.save_freq=1"]
    arguments += ["trainer.total_training_steps=6", "actor_rollout_ref.actor.optim.lr=1e-3"]
    process = subprocess.Popen(
        [str(BIN / "spo-train"), "--out", "killed", *arguments],
        cwd=work,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints = work / "killed" / "checkpoints"
    wait_for(lambda: (checkpoints / "global_step_4" / "actor").exists() and len(steps(work, "killed")) >= 4, process)
    kill_all(process, work / "killed")
    before, at_four = steps(work, "killed"), state(work, "killed", 4)
    weights = checkpoints / "global_step_4" / "actor" / "model_world_size_1_rank_0.pt"
    model_before = load_weights(weights)

    # As if it had been killed within step 3: later checkpoints are not there, the marker names step 2.
    for step in (3, 4, 5, 6):
        subprocess.run(["rm", "-rf", str(checkpoints / f"global_step_{step}")], check=True)
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("2")

    refused = train(work, "killed", *arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    done = train(work, "killed", "--resume", *arguments[:-2], "trainer.total_training_steps=4", arguments[-1])
    assert done.returncode == 0, done.stdout + done.stderr

    after, again = steps(work, "killed"), state(work, "killed", 4)
    for name, array in at_four.items():
        if not name.startswith("memory."):
            np.testing.assert_array_equal(array, again[name], err_msg=name)
    np.testing.assert_array_equal(at_four["memory.rows"], again["memory.rows"])
    for step in (3, 4):
        for metric in (
            "spo/baseline",
            "spo/reward",
            "spo/table/value",
            "spo/n_eff",
            "spo/rho",
            "spo/verdict_total/correct",
        ):
            assert after[step][metric] == before[step][metric], metric
        assert after[step]["actor/grad_norm"] == pytest.approx(before[step]["actor/grad_norm"], rel=1e-3)
    for name, tensor in load_weights(weights).items():
        np.testing.assert_allclose(tensor, model_before[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.long
def test_grpo_on_two_workers_with_padding_validation_and_failing_graders(work: Path) -> None:
    """The paper's baseline on the same data, reward and trainer; without values, from files alone.

    Five prompts of two responses do not divide into mini-batches, so verl pads; responses that begin with one of
    nine characters crash the grader, and other prompts take the place of those.
    """
    arguments = ["--method", "grpo", "--train-files", "prompts.jsonl", "--model", "model", "--template", "none"]
    arguments += ["--verifier", "verifier.py:compute_score", "--val-files", "prompts.jsonl", "--gpus-per-node", "2"]
    arguments += ["data.train_batch_size=5", "actor_rollout_ref.rollout.n=2", "trainer.total_training_steps=2"]
    arguments += ["actor_rollout_ref.actor.ppo_mini_batch_size=4", f"data.max_response_length={RESPONSE_TOKENS}"]
    arguments += ["trainer.test_freq=2"]
    done = train(work, "grpo", *arguments, CRASH_ON="abcdefghi")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = steps(work, "grpo")
    assert sorted(metrics) == [1, 2]
    for data in metrics.values():
        verdicts = {name: data[f"spo/verdict_total/{name}"] for name in ("correct", "wrong", "truncated", "no_answer")}
        assert sum(verdicts.values()) == 10  # whole groups: one that lost a response was replaced
        assert data["spo/baseline"] == 0
        assert "spo/rho" not in data
    assert sum(data.get("spo/verdict_total/grader_error", 0) for data in metrics.values()) > 0
    (validation,) = [value for name, value in metrics[2].items() if name.startswith("val-core/")]
    assert metrics[2]["val-aux/failed_samples"] > 0
    # Of those that were graded; with the failed ones as wrong it would be a third less.
    graded = PROMPTS - metrics[2]["val-aux/failed_samples"]
    assert (validation * graded) == pytest.approx(round(validation * graded), abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["spo_colocate_async", "spo_separate_async"])
def test_asynchronous_modes(work: Path, mode: str) -> None:
    """Samples of an earlier policy are compared with the value that they were drawn under, and none is drawn twice."""
    arguments = ["--offline-values", "run", f"trainer.v1.trainer_mode={mode}", "trainer.save_freq=2"]
    arguments += ["trainer.total_training_steps=4", "data.train_batch_size=8", "trainer.spo.batch_order=drawn"]
    if mode == "spo_separate_async":
        arguments += ["actor_rollout_ref.rollout.nnodes=1", "actor_rollout_ref.rollout.n_gpus_per_node=1"]
    done = train(work, mode, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = steps(work, mode)
    assert sorted(metrics) == [1, 2, 3, 4]
    assert metrics[4]["spo/policy_lag"] > 0
    assert metrics[4]["spo/in_flight"] >= 8
    saved = state(work, mode, 4)
    in_flight = json.loads(str(saved["rest"]))["in_flight"]
    assert len(in_flight) == len({draw["row"] for draw in in_flight}) == 8
    visits = saved["tracker.visits"]
    values = saved["tracker.alpha"] / (saved["tracker.alpha"] + saved["tracker.beta"])
    for draw in in_flight:  # nothing has changed the value of a prompt since it was drawn
        assert draw["baseline"] == pytest.approx(values[draw["row"]], abs=1e-12)
    assert visits.sum() == 32
    if mode == "spo_colocate_async":  # the prompts in flight are sampled again, and come first
        resumed = train(work, mode, "--resume", *arguments, "trainer.total_training_steps=5")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert state(work, mode, 5)["tracker.visits"].sum() == 40
        later = json.loads(str(state(work, mode, 5)["rest"]))["in_flight"]
        assert not {draw["number"] for draw in later} & {draw["number"] for draw in in_flight}


@pytest.mark.long
def test_the_embedded_model(tmp_path: Path) -> None:
    """As the README has it: estimate with the embedded model, then train it from these values."""
    sums = "reasoning-gym:chain_sum?max_terms=2&max_digits=1"
    command = ["spo-data", "estimate", "--model", "smollm2-135m", "--dataset", sums, "--limit", "8", "--n", "2"]
    estimated = run(tmp_path, *command, "--out", "run", "--max-tokens", "32", "--enforce-eager")
    assert estimated.returncode == 0, estimated.stdout + estimated.stderr
    arguments = ["--offline-values", "run", "--model", "smollm2-135m", "data.train_batch_size=4"]
    done = train(tmp_path, "train", *arguments, "trainer.total_training_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = steps(tmp_path, "train")
    assert sorted(metrics) == [1, 2]
    # Values were sampled in the model's bfloat16, training is in float32: it is the same policy all the same.
    assert metrics[1]["spo/divergence"] == pytest.approx(0, abs=2e-3)
    assert metrics[2]["training/rollout_probs_diff_mean"] < 1e-3
    assert metrics[2]["actor/grad_norm"] > 0 or metrics[2]["spo/advantage/std"] == 0


def wait_for(condition: Any, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(6000):
        try:
            if condition():
                return
        except (FileNotFoundError, json.JSONDecodeError):
            pass
        assert process.poll() is None, "spo-train ended by itself"
        time.sleep(0.1)
    raise AssertionError("it did not come so far")


def kill_all(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """SIGKILL the command and everything that it started, at once."""
    import psutil

    victims = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for victim in victims:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(victims, timeout=30)
    for _ in range(100):  # what Ray had started in other sessions notices within seconds
        if not verl_processes(folder):
            return
        time.sleep(0.3)
    for leftover in psutil.process_iter():
        try:
            if str(folder) in leftover.environ().get("VERL_FILE_LOGGER_PATH", ""):
                leftover.kill()
        except psutil.Error:
            continue


def load_weights(path: Path) -> dict[str, np.ndarray]:
    import torch

    weights = torch.load(path, weights_only=False)
    return {name: getattr(each, "_local_tensor", each).float().numpy() for name, each in weights.items()}
