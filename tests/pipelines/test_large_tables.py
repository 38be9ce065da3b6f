"""Tables of a million prompts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROGRAM = "support.large_run"
TESTS = Path(__file__).parents[1]


def step(*words: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, *map(str, words)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_and_load(run: Path, n_prompts: int, limit_mb: float) -> None:
    run.mkdir()
    step("make", run, str(n_prompts))
    assert step("write", run)["peak_mb"] < limit_mb
    loaded = step("load", run)
    assert loaded["peak_mb"] < limit_mb
    assert (loaded["rows"], loaded["ids"]) == (n_prompts, n_prompts)
    assert loaded["mean"] == pytest.approx(2 / 3, abs=1e-4)


def test_tables_of_some_thousand_prompts_need_little(tmp_path: Path) -> None:
    write_and_load(tmp_path / "run", 3_000, 400)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_tables_of_a_million_prompts_write_and_load_within_two_gigabytes(tmp_path: Path) -> None:
    write_and_load(tmp_path / "run", 1_000_000, 2_000)
