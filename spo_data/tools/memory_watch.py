"""How much memory a process and all its descendants use together, read from /proc."""

import contextlib
import os
from collections.abc import Iterator

_FILE_BYTES = 1024
"""What the kernel keeps for a file, an empty one included."""


def memory_used(root: int, limit: int, file_systems: tuple[str, ...] = (), size: int = 0) -> int:
    """Bytes in memory and swap, with the files in the tmpfs `file_systems` of `size` that the descendants see.

    Pages that processes share are counted once for each, unless that exceeds the limit: to share them out takes longer.
    """
    processes = list(_tree(root))
    files = _files(processes, file_systems, size)
    used = files + sum(_fields(pid, "status", ("VmRSS:", "VmSwap:")) or 0 for pid in processes)
    if used <= limit:
        return used
    return files + sum(_shared_out(pid) for pid in processes)


def children(pid: int) -> Iterator[int]:
    """The processes that its threads have started; none where it has ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def _shared_out(pid: int) -> int:
    """A process's part of what it shares; all of it where that may not be read."""
    shared_out = _fields(pid, "smaps_rollup", ("Pss:", "SwapPss:"))
    return shared_out if shared_out is not None else _fields(pid, "status", ("VmRSS:", "VmSwap:")) or 0


def _tree(root: int) -> Iterator[int]:
    """The process and its descendants, parents first; a process that ends meanwhile may be missing."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children(pid)


def _fields(pid: int, name: str, wanted: tuple[str, ...]) -> int | None:
    """The sum of fields given in kB; None where the file cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith(wanted))
    except OSError:
        return None


def _files(processes: list[int], file_systems: tuple[str, ...], size: int) -> int:
    """Bytes in the file systems; of those that have the size, so that no other's are taken for a sandbox's."""
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
