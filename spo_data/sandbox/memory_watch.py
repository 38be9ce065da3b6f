"""Measure how much memory a process and all its descendants use together, from /proc."""

import contextlib
import os
import re
from collections.abc import Iterator

_FILE_BYTES = 1024
"""Bytes that the kernel keeps for each file, even an empty one."""
_RESIDENT = re.compile(rb"^(?:VmRSS|VmSwap):\s*(\d+) kB$", re.MULTILINE)
_SHARED_OUT = re.compile(rb"^(?:Pss|SwapPss):\s*(\d+) kB$", re.MULTILINE)


def measure_memory(root: int, limit: int, file_systems: tuple[str, ...] = (), size: int = 0) -> int:
    """Return the bytes in memory and swap, including files in the descendants' tmpfs `file_systems` of `size` bytes.

    Shared pages are counted once per process. Only if that sum exceeds the limit are they divided among the processes,
    because this takes longer.
    """
    processes = list(_walk_tree(root))
    files = _measure_files(processes, file_systems, size)
    used = files + sum(_sum_fields(pid, "status", _RESIDENT) or 0 for pid in processes)
    if used <= limit:
        return used
    return files + sum(_read_shared_part(pid) for pid in processes)


def children(pid: int) -> Iterator[int]:
    """Yield the processes that its threads have started; nothing if it has ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def _read_shared_part(pid: int) -> int:
    """Return a process's memory with its part of shared pages, or with all of them if the parts cannot be read."""
    shared_out = _sum_fields(pid, "smaps_rollup", _SHARED_OUT)
    return shared_out if shared_out is not None else _sum_fields(pid, "status", _RESIDENT) or 0


def _walk_tree(root: int) -> Iterator[int]:
    """Yield the process and its descendants, parents first; one that ends meanwhile may be missing."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children(pid)


def _sum_fields(pid: int, name: str, wanted: re.Pattern[bytes]) -> int | None:
    """Return the sum of fields in bytes (the file gives kB); None if the file cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            content = file.read()
    except OSError:
        return None
    # Skip the first line: in `status` it holds the name that a process gave itself, which may look like a field.
    return sum(int(kilobytes) << 10 for kilobytes in wanted.findall(content.partition(b"\n")[2]))


def _measure_files(processes: list[int], file_systems: tuple[str, ...], size: int) -> int:
    """Return the bytes in a sandbox's file systems; their size tells them from the host's."""
    for pid in reversed(processes):
        used = 0
        for path in file_systems:
            try:
                found = os.statvfs(f"/proc/{pid}/root{path}")
            except OSError:
                break
            if found.f_blocks * found.f_frsize != size:
                break
            used += (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * _FILE_BYTES
        else:
            return used
    return 0
