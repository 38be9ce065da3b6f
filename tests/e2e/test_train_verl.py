"""`spo-train` as a user runs it: real values, real verl, real vLLM, on the CPU.

Starting verl's processes takes most of each test's time, so each test checks several things. `make test` runs the first
one, `make test-long` the others.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tool_shots import write_shots
from support.two_layer_model import make_two_layer_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

BIN = Path(sys.executable).parent
GPU_CHECKS = Path(__file__).parents[2] / "benchmarks" / "gpu"
PROMPTS = 24
RESPONSE_TOKENS = 40
VERIFIER = """
import os

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if os.environ.get("CRASH_ON_ODD_LENGTH") and len(solution_str) % 2:
        os._exit(1)
    return float(ground_truth in solution_str)
"""


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What judges these metrics on a GPU (benchmarks/gpu/check.sh): it must find in them what it reads."""
    monkeypatch.syspath_prepend(str(GPU_CHECKS))
    return import_module("judge")


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, prompts, a reward function, and `run`, whose values the real engine made."""
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
    """The metrics of each step, over all launches; for a repeated step, the last ones written."""
    files = sorted((folder / out).glob("metrics*.jsonl"))  # metrics.1.jsonl of the first launch comes first
    lines = [line for file in files for line in file.read_text().splitlines()]
    return {entry["step"]: entry["data"] for entry in map(json.loads, lines)}


def state(folder: Path, out: str, step: int) -> dict[str, np.ndarray]:
    from spo_train.hooks import checkpoint

    return checkpoint.load(checkpoint.folder_of(folder / out / "checkpoints", step))


def verl_processes(folder: Path) -> list[str]:
    """Processes that a training run in this folder left behind."""
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


TRAINING = ["--offline-values", "run", "data.train_batch_size=7", "actor_rollout_ref.actor.optim.lr=1e-3"]
TRAINING += ["trainer.save_freq=1", "trainer.max_actor_ckpt_to_keep=6"]


def test_spo_from_a_run_of_our_own(work: Path, judge: Any) -> None:
    """Train from values just estimated with the same policy; the tracker is the paper's, step by step."""
    done = train(work, "spo", *TRAINING, "trainer.total_training_steps=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "coverage" in done.stdout
    assert "no accelerator" in done.stdout + done.stderr
    assert "step 3/3" in done.stderr
    check_metrics(steps(work, "spo"), 3)
    check_tracker(work, "spo", 3)
    assert f"first visits: {PROMPTS} of {PROMPTS} responses" in done.stderr + (work / "spo" / "verl.log").read_text()
    assert not (work / "spo" / "first_visits.npz").exists(), "the checkpoint holds them"
    judged = judge.judge_steps(work / "spo")
    assert judged.holds, judged.claims
    assert judged.figures["seconds/step"] > 0
    assert verl_processes(work / "spo") == []


@pytest.mark.long
def test_a_killed_training_resumes_as_itself(work: Path, judge: Any) -> None:
    """SIGKILL every process of a training at once, and resume.

    The resumed run is compared with the killed run's own later steps. It resumes from the checkpoint of step 2 and
    repeats steps 3 and 4. Prompts, baselines and trackers must be identical, and the model equal within rounding.
    """
    checkpoints = work / "killed" / "checkpoints"
    command = [str(BIN / "spo-train"), "--out", "killed", *TRAINING, "trainer.total_training_steps=6"]
    with (work / "printed").open("w") as output:
        process = subprocess.Popen(command, cwd=work, stdout=output, stderr=output)
        wait_for(
            lambda: (checkpoints / "global_step_4" / "actor").exists() and len(steps(work, "killed")) >= 4, process
        )
        kill_all(process, work / "killed")
    before, at_four = steps(work, "killed"), state(work, "killed", 4)
    model_before = load_weights(checkpoints)
    check_metrics(before, 4)
    check_tracker(work, "killed", 4)

    # As if the disk had lost all after step 2. The marker still names a later step, from which verl began at step 1.
    for step in (3, 4, 5, 6):
        shutil.rmtree(checkpoints / f"global_step_{step}", ignore_errors=True)
    fewer = [*TRAINING, "trainer.max_actor_ckpt_to_keep=1", "trainer.total_training_steps=4"]
    refused = train(work, "killed", "--resume", *fewer)
    assert refused.returncode == 2
    assert "the newest whole checkpoint is at step 2; to continue from it: echo 2 > " in refused.stderr
    note, _, _ = refused.stderr.rpartition("to continue from it: ")[2].partition(" && ")
    subprocess.run(note, shell=True, check=True)
    done = train(work, "killed", "--resume", *fewer)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 4/4" in done.stderr
    after, again = steps(work, "killed"), state(work, "killed", 4)
    for name in at_four.keys() - {"memory.blobs"}:  # log-probs match only within rounding
        np.testing.assert_array_equal(at_four[name], again[name], err_msg=name)
    for step in (3, 4):
        for metric in ("baseline", "reward", "table/value", "n_eff", "rho", "verdict_total/correct"):
            assert after[step][f"spo/{metric}"] == before[step][f"spo/{metric}"], metric
        assert after[step]["actor/grad_norm"] == pytest.approx(before[step]["actor/grad_norm"], rel=1e-3)
    repeated = judge.compare_launches(work / "killed")
    assert (repeated.holds, repeated.seen.count("step ")) == (True, 2), repeated
    for name, tensor in load_weights(checkpoints).items():
        np.testing.assert_allclose(tensor, model_before[name], rtol=1e-3, atol=1e-5, err_msg=name)
    # Only the last one stays, those of the killed process are deleted too.
    assert [path.name for path in checkpoints.glob("global_step_*")] == ["global_step_4"]
    assert verl_processes(work / "killed") == []


def check_metrics(metrics: dict[int, dict[str, Any]], last: int) -> None:
    """The metrics of the first steps are consistent."""
    assert sorted(metrics)[:last] == list(range(1, last + 1))
    first = metrics[1]
    assert first["spo/visits"] == 0
    assert first["spo/n_eff"] == pytest.approx(4)  # the estimate's samples
    # On a first visit the divergence is measured on the estimate's own response, under the weights that sampled it.
    assert first["spo/divergence"] == pytest.approx(0, abs=2e-3)
    assert first["spo/rho"] == pytest.approx(0.96)
    assert metrics[3]["spo/divergence"] > first["spo/divergence"]
    for data in metrics.values():
        verdicts = {name: data[f"spo/verdict_total/{name}"] for name in ("correct", "wrong", "truncated", "no_answer")}
        assert sum(verdicts.values()) == 7  # exactly the batch, without the padding rows
        assert data["spo/reward"] == pytest.approx(verdicts["correct"] / 7)
        assert 0 < data["spo/divergence/share_of_step"] < 1
        # Engine and trainer run the same policy, so in float32 they agree.
        assert data["training/rollout_probs_diff_mean"] < 1e-4


def check_tracker(work: Path, out: str, last: int) -> None:
    """The tracker is the run's values and then, step by step, the paper's update with the rewards of the responses.

    It used to compare the prompts that were never drawn, so the tracker could learn anything of the others.
    """
    from transformers import AutoTokenizer

    from spo_train.data.verl_files import read_values_file
    from spo_train.spo.memory import ResponseMemory

    values = read_values_file(work / out / "values.parquet")
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    assert set(values.counts.tolist()) == {4}
    alpha, total = values.totals.copy(), np.full(PROMPTS, 4.0)
    visits, metrics = np.zeros(PROMPTS, np.int64), steps(work, out)
    for step in range(1, last + 1):
        saved = state(work, out, step)
        memory = ResponseMemory(PROMPTS, 1 << 30)
        memory.restore({name.removeprefix("memory."): saved[name] for name in saved if name.startswith("memory.")})
        drawn = saved["tracker.visits"] - visits
        assert (drawn.sum(), drawn.max()) == (7, 1)
        rewards = np.zeros(PROMPTS)
        for row in np.flatnonzero(drawn).tolist():
            response = memory.get(row)
            assert response is not None
            assert response.step == step
            text = tokenizer.decode(response.response_ids, skip_special_tokens=True)
            ended = response.response_ids[-1] == tokenizer.eos_token_id  # a truncated response is worth 0
            rewards[row] = ended and chr(ord("a") + row) in text
        now = saved["tracker.alpha"] + saved["tracker.beta"]
        rho = np.where(drawn, (now - 1) / total, 1.0)
        assert metrics[step]["spo/baseline"] == pytest.approx((alpha / total)[drawn > 0].mean())
        assert metrics[step]["spo/reward"] == pytest.approx(rewards.sum() / 7)
        assert metrics[step]["spo/rho"] == pytest.approx(rho[drawn > 0].mean())
        assert rho.min() >= 0.875 - 1e-9
        assert rho[drawn > 0].max() <= 0.96 + 1e-9
        alpha, total, visits = rho * alpha + rewards, rho * total + drawn, saved["tracker.visits"]
        np.testing.assert_allclose(saved["tracker.alpha"], alpha, rtol=1e-12, err_msg=f"step {step}")
        np.testing.assert_allclose(now, total, rtol=1e-12, err_msg=f"step {step}")
        assert len(saved["memory.rows"]) == PROMPTS  # one response for each prompt: the estimate's, or a newer one


@pytest.mark.long
def test_grpo_on_two_workers_with_padding_validation_and_failing_graders(work: Path) -> None:
    """The paper's baseline on the same data, reward and trainer, from prompt files alone, without values.

    Five prompts with two responses each do not divide into mini-batches, so verl pads. A response of odd length crashes
    the grader, and another prompt replaces the failed one. When nine first characters did, some validations had no
    such response, and the test failed.
    """
    arguments = ["--method", "grpo", "--train-files", "prompts.jsonl", "--model", "model", "--template", "none"]
    arguments += ["--verifier", "verifier.py:compute_score", "--val-files", "prompts.jsonl", "--gpus-per-node", "2"]
    arguments += ["data.train_batch_size=5", "actor_rollout_ref.rollout.n=2", "trainer.total_training_steps=2"]
    arguments += ["actor_rollout_ref.actor.ppo_mini_batch_size=4", f"data.max_response_length={RESPONSE_TOKENS}"]
    arguments += ["trainer.test_freq=2"]
    done = train(work, "grpo", *arguments, CRASH_ON_ODD_LENGTH="1")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = steps(work, "grpo")
    assert sorted(metrics) == [1, 2]
    for data in metrics.values():
        verdicts = {name: data[f"spo/verdict_total/{name}"] for name in ("correct", "wrong", "truncated", "no_answer")}
        assert sum(verdicts.values()) == 10  # whole groups: a group that lost a response was replaced
        assert data["spo/baseline"] == 0
        assert "spo/rho" not in data
    assert sum(data.get("spo/verdict_total/grader_error", 0) for data in metrics.values()) > 0
    (validation,) = [value for name, value in metrics[2].items() if name.startswith("val-core/")]
    assert metrics[2]["val-aux/failed_samples"] > 0
    # The mean is over the graded samples. If failed samples counted as wrong, it would be lower.
    graded = PROMPTS - metrics[2]["val-aux/failed_samples"]
    assert (validation * graded) == pytest.approx(round(validation * graded), abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["spo_colocate_async", "spo_separate_async"])
def test_asynchronous_modes(work: Path, mode: str) -> None:
    """An earlier policy's samples are compared with the values at their draw, and no prompt is drawn twice."""
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
    for draw in in_flight:  # a prompt's value has not changed since it was drawn
        assert draw["baseline"] == pytest.approx(values[draw["row"]], abs=1e-12)
    assert visits.sum() == 32
    if mode == "spo_colocate_async":  # the prompts in flight are sampled again, and come first
        resumed = train(work, mode, "--resume", *arguments, "trainer.total_training_steps=5")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert state(work, mode, 5)["tracker.visits"].sum() == 40
        later = json.loads(str(state(work, mode, 5)["rest"]))["in_flight"]
        assert not {draw["number"] for draw in later} & {draw["number"] for draw in in_flight}


@pytest.mark.long
def test_the_embedded_model_with_an_interpreter(tmp_path: Path) -> None:
    """Estimate with the embedded model and an interpreter, then train from these values with the same interpreter."""
    write_shots(tmp_path / "shots.jsonl")
    command = ["spo-data", "estimate", "--model", "smollm2-135m", "--dataset", "shots.jsonl", "--n", "4"]
    command += ["--tools", "python", "--max-tool-turns", "2", "--max-tokens", "80", "--dtype", "float32"]
    estimated = run(tmp_path, *command, "--out", "run", "--enforce-eager")
    assert estimated.returncode == 0, estimated.stdout + estimated.stderr
    arguments = ["--offline-values", "run", "--model", "smollm2-135m", "data.train_batch_size=4"]
    arguments += ["--val-files", "shots.jsonl", "trainer.test_freq=2", "actor_rollout_ref.rollout.val_kwargs.n=1"]
    done = train(tmp_path, "train", *arguments, "trainer.total_training_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = steps(tmp_path, "train")
    assert sorted(metrics) == [1, 2]
    for data in metrics.values():
        assert 0 < data["spo/tool_turns"] <= 2
        assert 0 < data["spo/tool_tokens"] < 1
        assert data["spo/tool_seconds"] > 0
        assert data.get("spo/verdict_total/tool_error", 0) == 0
        # Only the model's own tokens count, because no policy sampled the tool output.
        assert data["training/rollout_probs_diff_mean"] < 1e-3
    assert metrics[1]["spo/divergence"] == pytest.approx(0, abs=2e-3)
    assert metrics[2]["val-aux/failed_samples"] == 0
    assert metrics[2]["val-aux/num_turns/mean"] > 2, "programs were run in the validation too"
    assert metrics[2]["actor/grad_norm"] > 0 or metrics[2]["spo/advantage/std"] == 0
    assert verl_processes(tmp_path / "train") == []


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
    """SIGKILL the command and every process that it started, at once."""
    import psutil

    victims = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for victim in victims:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(victims, timeout=30)
    for _ in range(100):  # processes that Ray started in other sessions notice within seconds
        if not verl_processes(folder):
            return
        time.sleep(0.3)
    for leftover in psutil.process_iter():
        try:
            if str(folder) in leftover.environ().get("VERL_FILE_LOGGER_PATH", ""):
                leftover.kill()
        except psutil.Error:
            continue


def load_weights(checkpoints: Path) -> dict[str, np.ndarray]:
    """The model of step 4."""
    import torch

    path = checkpoints / "global_step_4" / "actor" / "model_world_size_1_rank_0.pt"
    weights = torch.load(path, weights_only=False)
    return {name: getattr(each, "_local_tensor", each).float().numpy() for name, each in weights.items()}
