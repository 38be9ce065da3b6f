"""Processes that a killed command left behind."""

import os
import time
from collections.abc import Mapping

import psutil

ORPHAN_SECONDS = 10.0


def session_pids(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process.pid)
        except OSError:
            continue
    return found


def wait_for_end(processes: Mapping[int, psutil.Process]) -> None:
    """Wait until the processes of killed calls have ended; nothing else tells them to."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    for process in processes.values():
        while _runs(process):
            assert time.monotonic() < deadline, f"{process} still runs"
            time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
