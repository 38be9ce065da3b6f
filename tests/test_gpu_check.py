"""benchmarks/gpu: the script runs the rows of docs/gpu-runs.md, and judges them by what they printed and wrote."""

import json
import math
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu" / "check.sh"
ONE_GPU_CANNOT = {"needs a hub", "needs several GPUs", "needs eight GPUs"}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def call(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [str(SCRIPT), *map(str, words)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def listed(*words: str) -> dict[str, str]:
    """The command of each check of the script."""
    done = call("--list", *words)
    assert done.returncode == 0, done.stderr
    return {name: command for name, _, command in (line.split("\t") for line in done.stdout.splitlines())}


def documented() -> list[tuple[str, str, str]]:
    """Name or reason, command and what must hold, of each row of docs/gpu-runs.md."""
    text = (ROOT / "docs" / "gpu-runs.md").read_text(encoding="utf-8")
    table = text.split("| check | command |")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [(row[0].strip("`"), row[1].strip("`"), row[2]) for row in rows]


def test_each_row_of_the_docs_is_a_check_of_the_script_or_says_why_not() -> None:
    """Rows and script could say different commands, and nobody would know which one had been run."""
    rows, checks = documented(), listed()
    assert {name: command for name, command, _ in rows if name not in ONE_GPU_CANNOT} == checks
    assert [name for name, _, _ in rows if name not in ONE_GPU_CANNOT] == list(checks), "the order of worth"
    assert {name for name, _, _ in rows if name in ONE_GPU_CANNOT} == ONE_GPU_CANNOT
    assert all(must_hold for _, _, must_hold in rows)


def test_each_check_has_a_judge_and_runs_on_a_cpu_too() -> None:
    judge = import_module("judge")
    assert list(judge.JUDGES) == list(listed()) == list(listed("--sizes", "cpu"))
    assert not any("gpus-per-node" in command for command in listed("--sizes", "cpu").values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sizes", "tpu"), "check.sh: --sizes tpu: give gpu or cpu"),
        (("--seconds", "ten"), "check.sh: --seconds ten is no whole number"),
        (("--out",), "check.sh: --out needs a value"),
        (("--fast",), "check.sh: unknown option --fast (--sizes, --seconds, --out, --list)"),
        (("speed",), "check.sh: no check is named speed: demo card throughput"),
    ],
)
def test_a_wrong_call_is_one_line(words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = call("--sizes", "cpu", "--out", tmp_path)
    assert done.returncode == 2
    assert "holds no results of these checks: give another --out" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


STEP = {
    "training/rollout_probs_diff_mean": 0.001,
    "spo/divergence": 0.001,
    "spo/baseline": 0.25,
    "spo/policy_lag": 0.5,
    "spo/tool_turns": 1.0,
}
SUMMARY = {"tokens_per_second": 100.0, "samples_per_second": 5.0, "tool_turns_mean": 1.0, "tool_errors": {}}
GONE = "killed process 7 after step 2\nnone of its processes is left after 0.5 s\n"
THROUGHPUT = """2,000 requests of 300 tokens on average, at most 2,048
(a) LLM.generate, one call            1,000.0 tokens/s
b/a {:.3f}   b/c 1.500   a/d {:.3f}
model runner V{}; KV cache 1,000 blocks
"""
CARD = "| sampling time | 0.0025 NVIDIA H100 hours, in which 2 samples were drawn |"


def write_steps(folder: Path, *launches: dict[int, dict[str, float]]) -> None:
    """Write the metrics of a training run's launches, as `spo-train` leaves them."""
    folder.mkdir(parents=True)
    for number, steps in enumerate(launches, start=1):
        name = "metrics.jsonl" if number == len(launches) else f"metrics.{number}.jsonl"
        lines = [json.dumps({"step": step, "data": {**STEP, **data}}) + "\n" for step, data in steps.items()]
        (folder / name).write_text("".join(lines))


def write_run(folder: Path, values: list[float], token_ids: list[list[int]]) -> None:
    count = len(token_ids)
    samples = {"prompt_id": ["a"] * count, "sample_index": list(range(count)), "token_ids": token_ids}
    for name, columns in (("values", {"value": values}), ("samples", samples)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / name / "0.parquet")


def broken_claims(tmp_path: Path, name: str, printed: str) -> list[str]:
    (tmp_path / "printed").write_text(printed)
    judgement = import_module("judge").judge(name, tmp_path, tmp_path / "printed", "gpu")
    assert judgement.claims
    return [claim.text for claim in judgement.claims if not claim.holds]


@pytest.mark.parametrize(
    ("name", "steps", "printed", "broken"),
    [
        ("training", {1: {}, 2: {}}, GONE, []),
        ("training", {1: {}, 2: {}}, "2 of its processes are still there", ["no process is left after SIGKILL"]),
        ("training", {1: {"spo/divergence": 0.02}}, GONE, ["spo/divergence of step 1 below 0.005"]),
        (
            *("training", {1: {}, 2: {"training/rollout_probs_diff_mean": 0.1}}, GONE),
            ["training/rollout_probs_diff_mean below 0.01"],
        ),
        (
            *("training", {1: {}, 2: {"training/rollout_probs_diff_mean": math.nan}}, GONE),
            ["training/rollout_probs_diff_mean below 0.01"],
        ),
        ("training", {2: {}}, GONE, ["its result can be read"]),
        ("tools-training", {1: {}}, "", []),
        ("tools-training", {1: {}, 2: {"spo/tool_turns": 0.0}}, "", ["spo/tool_turns above 0"]),
        ("asynchronous", {1: {"spo/policy_lag": 0.0}, 2: {}}, "", []),
        ("asynchronous", {1: {}, 2: {"spo/policy_lag": 0.0}}, "", ["spo/policy_lag of the last step above 0"]),
    ],
)
def test_training_is_judged_by_its_metrics(
    tmp_path: Path, name: str, steps: dict[int, dict[str, float]], printed: str, broken: list[str]
) -> None:
    write_steps(tmp_path / name, steps)
    assert broken_claims(tmp_path, name, printed) == broken


@pytest.mark.parametrize(
    ("launches", "holds"),
    [
        (({1: {}, 2: {}, 3: {"spo/baseline": 0.5}}, {3: {"spo/baseline": 0.5}, 4: {}}), True),
        (({1: {}, 2: {}, 3: {"spo/baseline": 0.5}}, {3: {"spo/baseline": 0.6}, 4: {}}), False),
        (({1: {}, 2: {}}, {3: {}, 4: {}}), False),  # no step ran again, so nothing was compared
    ],
)
def test_a_resumed_training_is_compared_with_the_killed_one(
    tmp_path: Path, launches: tuple[dict[int, dict[str, float]], ...], holds: bool
) -> None:
    write_steps(tmp_path / "training", *launches)
    assert (broken_claims(tmp_path, "resume", "") == []) is holds
    read_steps = import_module("judge").read_steps
    assert read_steps(tmp_path / "training", first=True).keys() == launches[0].keys()
    assert read_steps(tmp_path / "training").keys() == launches[1].keys()


@pytest.mark.parametrize(
    ("name", "printed", "broken"),
    [
        ("demo", json.dumps(SUMMARY), []),
        ("determinism", json.dumps(SUMMARY) + "\n" + json.dumps(SUMMARY), []),
        ("tools", json.dumps(SUMMARY), []),
        ("tools", json.dumps(SUMMARY | {"tool_errors": {"no answer": 2}}), ["no tool_error"]),
        ("tools", json.dumps(SUMMARY | {"tool_turns_mean": 0.0}), ["tool_turns_mean above 0"]),
        ("tools", "", ["its result can be read"]),
        ("card", CARD, []),
        ("card", CARD.replace("0.0025", "0.0000"), ["more than 0 hours"]),
        ("card", CARD.replace("NVIDIA H100", "CPU core"), ["it names the GPU"]),
        ("throughput", THROUGHPUT.format(0.96, 0.97, 2), []),
        ("throughput", THROUGHPUT.format(0.94, 0.97, 2), ["b/a at least 0.95"]),
        ("throughput", THROUGHPUT.format(0.96, 0.90, 2), ["a/d at least 0.95"]),
        ("throughput", THROUGHPUT.format(0.96, 0.97, 1), ["the model runner is V2"]),
        ("throughput", "", ["its result can be read"]),
        ("end-to-end", "....\n4 passed, 2 deselected in 9.1s", []),
        ("end-to-end", "..F.\n1 failed, 3 passed in 9.1s", ["tests pass"]),
        ("end-to-end", "2 deselected in 0.1s", ["tests pass"]),
    ],
)
def test_a_check_is_judged_by_what_it_printed(tmp_path: Path, name: str, printed: str, broken: list[str]) -> None:
    for run in ("demo", "first", "second"):
        write_run(tmp_path / run, [0.25, 0.0], [[1, 2], [3]])
    assert broken_claims(tmp_path, name, printed) == broken


def test_runs_with_other_tokens_or_without_a_value_between_0_and_1_do_not_pass(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", [0.0, 1.0], [[1]])
    write_run(tmp_path / "first", [0.5], [[1, 2], [3]])
    write_run(tmp_path / "second", [0.5], [[1, 2], [4]])
    assert broken_claims(tmp_path, "demo", json.dumps(SUMMARY)) == ["values inside (0, 1)"]
    assert broken_claims(tmp_path, "determinism", json.dumps(SUMMARY)) == ["both runs have equal token_ids"]


@pytest.mark.parametrize(
    ("cuda", "available", "driver", "said"),
    [
        ("13.0", True, "580.82.07", None),
        ("13.0", True, "550.54.14", None),  # NVIDIA's forward compatibility packages
        ("13.0", False, "550.54.14", "the driver is 550.54.14, and CUDA 13.0 needs 580 or newer"),
        ("13.0", False, None, "nvidia-smi finds no GPU"),
        (None, False, "580.82.07", "torch is a CPU build: install requirements/gpu.txt with Python 3.12"),
        ("13.0", False, "580.82.07", "torch can use no GPU although the driver 580.82.07 is there"),
    ],
)
def test_a_machine_without_a_usable_gpu_is_refused_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, available: bool, driver: str | None, said: str | None
) -> None:
    version, device = SimpleNamespace(cuda=cuda), SimpleNamespace(is_available=lambda: available)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=version, cuda=device))
    assert import_module("results").probe_torch(driver)[1] == said


def test_a_refused_machine_leaves_earlier_results_and_all_checks_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal left an empty folder, which the next call took for a folder of something else."""
    results: Any = import_module("results")
    machine = {"device": "CPU", "driver": None, "cuda": None, "python": "3.12", "unusable": "nvidia-smi finds no GPU"}
    monkeypatch.setattr(results, "find_machine", lambda: machine)
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="2"):
        results.begin(out, "gpu", 600, [])
    assert not out.exists()
    results.begin(out, "cpu", 600, [])
    results.add(out, results.Check("demo", "spo-data estimate", "passed"))
    with pytest.raises(SystemExit, match="2"):
        results.begin(out, "gpu", 600, [])
    results.begin(out, "cpu", 600, ["card"])
    assert [check["name"] for check in results.read_results(out)["checks"]] == ["demo"]
    results.begin(out, "cpu", 600, [])
    assert results.read_results(out)["checks"] == []


@pytest.mark.slow
def test_a_check_fails_if_it_takes_too_long_or_leaves_a_process(tmp_path: Path) -> None:
    """Each is a failed row with its cause, and no process is left for the next check. The table has all rows."""
    results: Any = import_module("results")
    (tmp_path / "logs").mkdir()
    head = {"started": "now", "sizes": "cpu", "seconds_at_most": 9, "versions": {"vllm": "0.30.0"}, "checks": []}
    machine = {"device": "a | b", "driver": None, "cuda": None, "python": "3.12"}
    results.write(tmp_path, {**head, "machine": machine})

    def check(name: str, command: str, limit: int) -> int:
        words = [sys.executable, str(SCRIPT.with_name("run_check.py")), str(tmp_path), name, command, str(limit)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=60, check=False
        ).returncode

    assert check("end-to-end", "echo 3 passed", 9) == 0
    assert check("tools", f"echo '{json.dumps(SUMMARY)}'; setsid sleep 987.5 < /dev/null > /dev/null 2>&1 &", 9) == 1
    assert check("card", f"echo '{CARD}'; sleep 60", 1) == 1
    found = {entry["name"]: entry for entry in results.read_results(tmp_path)["checks"]}
    assert (found["end-to-end"]["outcome"], found["end-to-end"]["causes"]) == ("passed", [])
    assert found["tools"]["causes"] == ["left 1 processes: sleep"]
    assert found["card"]["causes"] == ["stopped after its limit of 1 s"]
    assert subprocess.run(["pgrep", "-f", "sleep 987.5"], capture_output=True, check=False).returncode == 1
    table = (tmp_path / "results.md").read_text().splitlines()
    assert [line.split(" | ")[:2] for line in table[-3:]] == [
        ["| end-to-end", "passed"],
        ["| tools", "failed"],
        ["| card", "failed"],
    ]
