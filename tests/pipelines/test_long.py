"""Tests that take minutes: many kills at random moments, and memory use over a hundred thousand samples."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import scripted

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    scripted.write_rows(folder / "sums.jsonl", 6)
    assert call(folder / "sums.jsonl", folder / "run")["status"] == 0
    return folder / "run"


def call(dataset: Path, out: Path, **job: object) -> dict[str, object]:
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(out)]
    argv += ["--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1", "--n", "6"]
    return dict(scripted.server().run({"argv": argv, **job}))


@pytest.mark.parametrize("seed", range(32))
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    seed: int, undisturbed: Path, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    dataset, killed = undisturbed.parent / "sums.jsonl", tmp_path / "killed"
    kills = 0
    for _ in range(4):
        kill = {"at": "sql:", "nth": chance.randint(1, 60), "when": chance.choice(["before", "after"])}
        kills += call(dataset, killed, commit_samples=chance.randint(1, 6), kill=kill)["status"] == -9
    assert kills, "a kill that never happens shows nothing"
    assert call(dataset, killed)["status"] == 0
    rows = scripted.journal_rows(killed)
    assert rows == scripted.journal_rows(undisturbed)
    assert len({row[:2] for row in rows}) == len(rows) == 36
    assert scripted.tables(killed) == scripted.tables(undisturbed)


def test_memory_is_flat_over_a_hundred_thousand_samples() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "throughput.py"), "pipeline", "--samples", "100000"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    megabytes = [float(found.replace(",", "")) for found in re.findall(r"samples: ([\d,]+) MB", printed)]
    assert len(megabytes) == 3, printed
    assert max(megabytes) < 1.1 * megabytes[0], printed
