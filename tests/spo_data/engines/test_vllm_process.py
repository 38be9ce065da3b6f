"""Engine processes end with the command that started them."""

import os
import signal
import subprocess
import sys
import time

import pytest

CHILD = """
import os, sys, time
from spo_data.engines.vllm_process import die_with_parent
die_with_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
os.environ["SPO_DATA_ENGINE_STARTED_BY"] = str(os.getpid())
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""
ORPHAN = """
import os
os.getppid = lambda: 1
from spo_data.engines.vllm_process import die_with_parent
die_with_parent()
print("alive")
"""


def test_a_process_ends_when_its_killed_parent_does() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.parametrize(("starter", "printed"), [("77", ""), ("1", "alive\n"), (None, "alive\n")])
@pytest.mark.slow
def test_an_orphan_ends_at_once_but_not_below_process_1_of_a_container(starter: str | None, printed: str) -> None:
    """When `spo-data` ran as process 1 of a container, every engine process took itself for an orphan."""
    environment = {**os.environ, "SPO_DATA_ENGINE_STARTED_BY": starter or ""}
    if starter is None:
        del environment["SPO_DATA_ENGINE_STARTED_BY"]
    done = subprocess.run([sys.executable, "-c", ORPHAN], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == printed


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
