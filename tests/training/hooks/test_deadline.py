"""A call that hangs ends the process with one line."""

import subprocess
import sys

HANG = """
import time
from spo_train.hooks.deadline import deadline
with deadline(0.3, 'weight sync'):
    time.sleep({})
"""


def test_a_hang_ends_with_its_line() -> None:
    """A weight sync that has lost its partner waits forever in C code, which no exception can interrupt."""
    done = run(HANG.format(30))
    assert done.returncode == 70
    assert done.stderr == "spo-train: weight sync did not finish in 0.3 s\n"


def test_what_ends_in_time_is_left_alone() -> None:
    done = run(HANG.format(0))
    assert (done.returncode, done.stderr) == (0, "")


def run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
