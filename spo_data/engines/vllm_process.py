"""Engine processes end with the command that started them, however it ends.

vLLM calls `die_with_parent` in each of its processes (entry point `vllm.general_plugins`). Without it, a SIGKILL of
the command leaves the engine core and its workers alive and the GPU full, so the resumed run would run out of memory.
It does nothing in vLLM engines that spo-data did not start. The coordinator of several replicas loads no plugins, so it
is started through `run_coordinator`.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spo_data.process_death import request_parent_death_signal

STARTED_BY = "SPO_DATA_ENGINE_STARTED_BY"
"""Environment variable: the pid of the command that started the engine."""


def die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent process ends; do nothing on other systems."""
    starter = os.environ.get(STARTED_BY)
    if starter is None or starter == str(os.getpid()) or sys.platform != "linux":
        return
    request_parent_death_signal(signal.SIGKILL)
    if os.getppid() == 1 and starter != "1":  # the parent ended first (in a container it may be pid 1)
        os._exit(1)


@contextmanager
def coordinator_that_ends_with_us() -> Iterator[None]:
    """Let vLLM start its coordinator as `run_coordinator` while the block runs."""
    from vllm.v1.engine.coordinator import DPCoordinatorProc

    original = DPCoordinatorProc.__dict__["run_coordinator"]
    DPCoordinatorProc.run_coordinator = staticmethod(run_coordinator)
    try:
        yield
    finally:
        DPCoordinatorProc.run_coordinator = original


def run_coordinator(*arguments: Any, **named: Any) -> None:
    """Be the coordinator of vLLM's replicas, in a process of its own that ends with its parent."""
    die_with_parent()
    from vllm.v1.engine.coordinator import DPCoordinatorProc

    DPCoordinatorProc.run_coordinator(*arguments, **named)
