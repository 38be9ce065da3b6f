"""A process and all its descendants, ended together.

    with ProcessTree() as family:
        child = family.start([sys.executable, "-m", "spo_train.launch.child", "config.yaml"], environment, log)
        ...
    # here none of its processes is left

Ray's daemons and vLLM's engines leave their parent's session, and survive if the parent is killed. Inside the block
this process adopts such orphans (Linux's child subreaper), so it can find every descendant.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from spo_data.process_death import request_parent_death_signal

GRACE_SECONDS = 10.0
"""How long processes may take to end after SIGTERM."""
POLL_SECONDS = 0.25
LAUNCHER = "SPO_TRAIN_LAUNCHER"
"""Environment variable: the pid of the process that started the training run."""

_PR_SET_CHILD_SUBREAPER = 36


class ProcessTree:
    """The descendants of this process that were started in the block.

    At the end of the block they get `grace` seconds to end by themselves, or less if `hurry` says so meanwhile.
    """

    def __init__(self, grace: float = GRACE_SECONDS, hurry: Callable[[], bool] = lambda: False) -> None:
        self._grace, self._hurry = grace, hurry

    def __enter__(self) -> Self:
        self._others = set(psutil.Process().children(recursive=True))
        _become_subreaper(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            _become_subreaper(False)

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a process that prints to `log`, in its own session, so that the terminal's Ctrl-C does not reach it."""
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, **environment, LAUNCHER: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def find_living(self) -> list[psutil.Process]:
        """Return the processes that have not ended."""
        return [
            process
            for process in psutil.Process().children(recursive=True)
            if process not in self._others and _is_alive(process)
        ]

    def end(self) -> None:
        """End all processes: SIGTERM, then SIGKILL for those left after the grace period."""
        living = self.find_living()
        for process in living:
            _send(process, signal.SIGTERM)
        end = time.monotonic() + self._grace
        while living and time.monotonic() < end and not self._hurry():
            _, living = psutil.wait_procs(living, timeout=min(POLL_SECONDS, self._grace))
        while living := self.find_living():  # a process may start another while it ends
            for process in living:
                _send(process, signal.SIGKILL)
            psutil.wait_procs(living, timeout=self._grace)


def end_with_launcher() -> None:
    """Ask for a SIGTERM to this process, the training process, when its launcher ends for any reason."""
    launcher = os.environ.pop(LAUNCHER, None)
    if launcher is None or sys.platform != "linux":
        return
    request_parent_death_signal(signal.SIGTERM)
    if str(os.getppid()) != launcher:  # the launcher ended before the request
        sys.exit(128 + signal.SIGTERM)


def _become_subreaper(wanted: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        if process.ppid() == os.getpid():
            process.wait(timeout=0)  # a dead orphan, which only this process can collect
    return False


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
