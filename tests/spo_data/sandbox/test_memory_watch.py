"""What the kernel keeps for a program is never more than what is counted for it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from spo_data.sandbox import memory_limit
from spo_data.sandbox.interpreter import Limits
from spo_data.sandbox.memory_limit import MemoryLimit
from spo_data.sandbox.memory_watch import (
    PIPE_BYTES,
    measure_sandbox,
    read_most_objects,
    read_objects,
    read_shared_part,
    read_size,
)
from spo_data.sandbox.program import run_program


@contextmanager
def started(code: str) -> Iterator[tuple[int, int]]:
    """A process that has run the code, and the number that it printed."""
    command = [sys.executable, "-c", f"{code}\nimport time\ntime.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def measure_objects(pid: int) -> int:
    pipes: set[tuple[int, int]] = set()
    return read_objects(pid, pipes) + len(pipes) * PIPE_BYTES


PIPES = """
import os
written = 0
for _ in range(100):
    r, w = os.pipe()
    os.set_blocking(w, False)
    written += os.write(w, bytes(1 << 20))
    os.close(w)
print(written, flush=True)
"""
MAPPINGS = """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_long
at = libc.mmap(None, 1 << 27, 0, 0x22, -1, 0)
for page in range(0, 20_000, 2): assert libc.mprotect(ctypes.c_void_p(at + 4096 * page), 4096, 1) == 0
print(20_000 * 213, flush=True)
"""
LOCKS = """
import fcntl, tempfile
files = [tempfile.TemporaryFile("w") for _ in range(50)]
for at in range(100):
    for each in files: fcntl.lockf(each, fcntl.LOCK_EX, 1, 2 * at)
print(5_000 * 192, flush=True)
"""
WATCHED = """
import os, select
events = [os.eventfd(0) for _ in range(50)]
pollers = [select.epoll() for _ in range(50)]
for poller in pollers:
    for event in events: poller.register(event)
print(2_500 * 160, flush=True)
"""


@pytest.mark.parametrize("code", [PIPES, MAPPINGS, LOCKS, WATCHED])
def test_what_no_process_size_shows_is_counted(code: str) -> None:
    """62 processes with 65,000 mappings each kept 857 MB of the kernel's memory, of which nothing was counted. The
    sizes of a mapping, a lock and a watched file are those of the kernel's slabs, measured on Linux 6.18."""
    with started("print(0, flush=True)") as (pid, _):
        empty = measure_objects(pid)
    with started(code) as (pid, kept):
        counted = measure_objects(pid)
        alone, most = read_objects(pid, set()), read_most_objects(pid)
    assert empty < 1 << 20
    assert kept <= counted - empty < 2 * kept
    assert alone <= most <= 32 << 20


TABLES = """
import mmap
x = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
x.madvise(mmap.MADV_NOHUGEPAGE)
before = int(open("/proc/self/status").read().split("VmPTE:")[1].split()[0])
for page in range(0, 1 << 30, 1 << 21): x[page]
print((1 << 21) + (before << 10), flush=True)
"""


def test_page_tables_are_counted() -> None:
    """A page that is only read belongs to no size, but its table does: 115 MB for 62 processes."""
    with started("print(0, flush=True)") as (pid, _):
        empty = read_size(pid)
    with started(TABLES) as (pid, tables):
        assert read_size(pid) >= empty + tables - (1 << 20)
        shared = read_shared_part(pid)
    assert shared >= tables


SOCKETS = """
import socket
pairs = [socket.socketpair() for _ in range(200)]
written = 0
for each in pairs:
    each[0].setblocking(False)
    try:
        while True: written += each[0].send(bytes(90 << 10))
    except BlockingIOError:
        pass
print(written, flush=True)
"""


def test_sockets_count_with_the_most_that_they_can_hold() -> None:
    """A program held 2.5 GB in sockets within 20 seconds, and it would have held more with more time."""
    with started("print(0, flush=True)") as (pid, _):
        empty = measure_sandbox(pid)
    with started(SOCKETS) as (pid, written):
        counted = measure_sandbox(pid)
    assert written > 200 * (100 << 10)
    assert counted - empty >= written


def test_a_file_that_the_program_keeps_from_being_read_delays_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that changed their mappings all the time held the lock that a count of mappings needs: one count took
    25 s, and so long the program had neither a time limit nor a memory limit."""
    blocked = threading.Event()

    def wait(*_: object) -> int:
        blocked.wait(10)
        return 0

    monkeypatch.setattr(memory_limit, "read_objects", lambda _, pipes: wait(pipes))
    monkeypatch.setattr(memory_limit, "read_shared_part", wait)
    monkeypatch.setattr(memory_limit, "OBJECTS_SECONDS", 0.0)
    monkeypatch.setattr(memory_limit, "STALLED_SECONDS", 0.1)
    began = time.monotonic()
    with started("print(0, flush=True)") as (pid, _):
        size, most = read_size(pid), read_most_objects(pid)
        # Once where its size is within the limit, and once where the parts of shared pages must be known.
        with closing(MemoryLimit(pid, None, 1 << 30)) as within, closing(MemoryLimit(pid, None, 1)) as above:
            assert (within.measure(), above.measure()) == (size, 0)
            time.sleep(0.15)
            assert within.measure() == above.measure() == size + most
            assert within.measure_sockets() == most
            blocked.set()
    assert time.monotonic() - began < 5


CHANGING = """
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_long
for _ in range(25):
    if os.fork() == 0:
        at = libc.mmap(None, 1 << 28, 0, 0x22, -1, 0)
        while True:
            for page in range(0, 60_000, 2): libc.mprotect(ctypes.c_void_p(at + 4096 * page), 4096, 1)
            libc.mprotect(ctypes.c_void_p(at), 1 << 28, 0)
time.sleep(100)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("limits", "stopped"), [(Limits(4, 4096), "time"), (Limits(20, 384), "memory")])
def test_a_program_that_changes_its_mappings_all_the_time_keeps_its_limits(limits: Limits, stopped: str) -> None:
    """A limit of 5 s was reached after 8 s, and programs exceeded limits of 40 s and 1,024 MB."""
    execution = run_program(CHANGING, "", limits, unsafe=False, cancelled=threading.Event())
    assert execution.stopped == stopped
    assert execution.seconds < limits.seconds + 2.5
