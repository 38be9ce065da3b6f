"""Watch how much memory a program and what the kernel keeps for it take, without ever waiting for the program.

    with closing(MemoryLimit(root, inside, limit)) as memory:
        memory.measure() > limit             # several times a second

A program can hold the lock that `/proc/PID/maps` and `smaps_rollup` need for as long as it likes: it makes another
process of its own change its mappings all the time. Threads read these files, and the watcher takes what they have
found. A process whose files are not read in time counts with the most that it can have.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from spo_data.sandbox.memory_watch import (
    PIPE_BYTES,
    measure_sandbox,
    measure_sockets,
    read_most_objects,
    read_objects,
    read_shared_part,
    read_size,
    walk_tree,
)

OBJECTS_SECONDS = 1.0
"""Time between two counts of what the kernel keeps for the program, which take longer than its size."""
STALLED_SECONDS = 2.0
"""How long the files of all its processes may take to be read; on a busy machine, one that delays nothing needs some
tenths."""
_PATIENCE_SECONDS = 0.05
"""How long the watcher itself waits for parts of shared pages, which rarely take longer."""


class MemoryLimit:
    """One program's memory; it is used by one thread and has two more, one for each kind of slow file."""

    def __init__(self, root: int, inside: int | None, limit: int) -> None:
        self._root, self._inside, self._limit = root, inside, limit
        self._readers: list[int] = []
        self._threads = ThreadPoolExecutor(2, "memory", lambda: self._readers.append(threading.get_ident()))
        self._objects, self._shared = _Reading(self._threads), _Reading(self._threads)
        self._pipes: set[tuple[int, int]] = set()
        self._counted = 0
        self._last = 0
        self._first = time.monotonic()

    def measure(self) -> int:
        """Return the bytes that the program uses; until shared pages are divided, the last result.

        Shared pages count once per process. Only if that sum exceeds the limit are they divided among the processes,
        because this takes longer.
        """
        sizes = {pid: read_size(pid) for pid in walk_tree(self._root)}
        rest = self._count_objects(sizes) + measure_sandbox(self._inside)
        used = rest + sum(sizes.values())
        if used > self._limit:
            shared_out = self._divide(sizes)
            used = self._last if shared_out is None else rest + shared_out
        self._last = used
        return used

    def measure_sockets(self) -> int:
        """Return the bytes of sockets and of what was counted last, which takes little time."""
        return self._counted + measure_sockets(self._inside)

    def cpu_seconds(self) -> float:
        """Return the CPU time of this thread and of those that read for it."""
        clocks = map(time.pthread_getcpuclockid, tuple(self._readers))
        return time.thread_time() + sum(map(time.clock_gettime, clocks))

    def close(self) -> None:
        """Let the threads end, which they do at the latest when the program has ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _count_objects(self, sizes: Mapping[int, int]) -> int:
        """Return the last count of the kernel's objects, and start the next; a process that delays it counts in full"""
        now, reading = time.monotonic(), self._objects
        if reading.finished():
            if reading.began > 0:
                self._counted = reading.total() + len(self._pipes) * PIPE_BYTES
            if now >= max(reading.began, self._first) + OBJECTS_SECONDS:
                self._pipes = set()
                reading.start(sizes, partial(read_objects, pipes=self._pipes))
        elif now > reading.began + STALLED_SECONDS:
            most = reading.total({pid: read_most_objects(pid) for pid in sizes})
            self._counted = max(self._counted, most + len(self._pipes) * PIPE_BYTES)
        return self._counted

    def _divide(self, sizes: Mapping[int, int]) -> int | None:
        """Return the sizes with shared pages divided; None if this is not known yet."""
        reading = self._shared
        if reading.finished():
            reading.start(sizes, read_shared_part)
        if reading.finished(_PATIENCE_SECONDS):
            return reading.total()
        return reading.total(sizes) if time.monotonic() > reading.began + STALLED_SECONDS else None


class _Reading:
    """Reads one number for each process in another thread."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.began = -math.inf
        self._threads = threads
        self._future: Future[None] | None = None
        self._found: dict[int, int] = {}

    def start(self, processes: Mapping[int, int], read: Callable[[int], int]) -> None:
        self.began, self._found = time.monotonic(), {}
        self._future = self._threads.submit(_read_each, tuple(processes), read, self._found)

    def finished(self, seconds: float = 0.0) -> bool:
        """Return whether all processes have been read, after waiting for it; raises what the reading raised."""
        if self._future is None:
            return True
        done, _ = wait([self._future], seconds)
        for future in done:
            future.result()
        return bool(done)

    def total(self, otherwise: Mapping[int, int] | None = None) -> int:
        """Return the sum of what was found, and of the other numbers for processes that were not read yet."""
        missing = sum(number for pid, number in (otherwise or {}).items() if pid not in self._found)
        return sum(tuple(self._found.values())) + missing


def _read_each(processes: tuple[int, ...], read: Callable[[int], int], found: dict[int, int]) -> None:
    for pid in processes:
        found[pid] = read(pid)
