"""Engine processes end with the command that started them, however it ends.

vLLM calls `die_with_parent` in each of its processes (entry point `vllm.general_plugins`). Without it, a SIGKILL of
the command leaves the engine core and its workers alive and the GPU full, so that resuming runs out of memory. It does
nothing in engines that others started.
"""

import ctypes
import os
import signal
import sys

STARTED_BY = "SPO_DATA_ENGINE_STARTED_BY"
"""Environment variable: the pid of the command that started the engine."""

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent process ends; nothing on other systems."""
    starter = os.environ.get(STARTED_BY)
    if starter is None or starter == str(os.getpid()) or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 and starter != "1":  # it ended before we asked (in a container it may be process 1 itself)
        os._exit(1)
