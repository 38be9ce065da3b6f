"""Tell a program that its machine kept from running from one that used its time or slept.

    watch = CpuWatch(core)         # `watching` is the CPU time that the watcher itself has used
    watch.look(pid, watching)      # several times a second, and at the end
    watch.waited                   # seconds in which the program could not run because of others' work on its core

Waiting counts only as far as the core was busy with other work. If a program waits for its own processes, that is its
own doing. When in doubt it is the program's: an interval in which one of its threads started or ended does not count,
because the CPU time of a thread that has ended is not known. Nor does the watcher's own work, on whichever core: a
program with many mappings could make it take as much as it likes.
"""

import contextlib
import os
import time

from spo_data.sandbox.memory_watch import walk_tree

_BUSY = (0, 1, 2, 5, 6)
"""The fields of a core in /proc/stat that count its work: user, nice, system, irq and softirq."""


class CpuWatch:
    """Adds up how long a program waited for a core that was busy with other work."""

    def __init__(self, core: int) -> None:
        self.waited = 0.0
        self._core = core
        self._tasks: dict[int, tuple[int, int]] = {}
        self._looked = 0.0
        self._watching = 0.0
        self._busy: float | None = None

    def look(self, root: int, watching: float) -> None:
        """Measure the interval since the last look; only a program that waits for half of it needs a closer look."""
        now, before, tasks = time.monotonic(), self._tasks, _read_tasks(root)
        interval, self._looked, self._tasks = now - self._looked, now, tasks
        watched, self._watching = watching - self._watching, watching
        ran, waited = (_sum_growth(before, tasks, field) for field in (0, 1))
        if tasks.keys() != before.keys() or waited < interval / 2:
            self._busy = None
            return
        last, self._busy = self._busy, _read_busy_seconds(self._core)
        if last is not None and self._busy is not None:
            self.waited += max(0.0, min(waited, interval, self._busy - last - ran - watched))


def _sum_growth(before: dict[int, tuple[int, int]], now: dict[int, tuple[int, int]], field: int) -> float:
    return sum(now[task][field] - before[task][field] for task in now.keys() & before.keys()) / 1e9


def _read_tasks(root: int) -> dict[int, tuple[int, int]]:
    """Return the nanoseconds that each thread of the tree has run and has waited for a core."""
    found: dict[int, tuple[int, int]] = {}
    for pid in walk_tree(root):
        with contextlib.suppress(OSError, ValueError):  # it has ended, or this kernel does not measure it
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:
                    ran, waited, _ = map(int, file.read().split())
                found[int(task)] = ran, waited
    return found


def _read_busy_seconds(core: int) -> float | None:
    """Return the seconds of work that a core has done; None if the container does not show it."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/stat", "rb") as file:
        for line in file:
            name, *fields = line.split()
            if name == b"cpu%d" % core:
                return sum(int(fields[index]) for index in _BUSY) / os.sysconf("SC_CLK_TCK")
    return None
