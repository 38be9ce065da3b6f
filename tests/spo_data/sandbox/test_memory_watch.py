"""What the kernel keeps for a program is never more than what is counted for it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spo_data.sandbox.memory_watch import measure_kernel_objects, measure_memory


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
        empty = measure_kernel_objects(pid)
    with started(code) as (pid, kept):
        counted = measure_kernel_objects(pid)
    assert empty < 1 << 20
    assert kept <= counted - empty < 2 * kept


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
        empty = measure_memory(pid, 1 << 40, None)
    with started(TABLES) as (pid, tables):
        assert measure_memory(pid, 1 << 40, None) >= empty + tables - (1 << 20)
        shared = measure_memory(pid, 0, None)
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
        empty = measure_memory(pid, 1 << 40, pid)
    with started(SOCKETS) as (pid, written):
        counted = measure_memory(pid, 1 << 40, pid)
    assert written > 200 * (100 << 10)
    assert counted - empty >= written
