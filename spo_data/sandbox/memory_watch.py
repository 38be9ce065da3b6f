"""How much memory a process and all its descendants use together, read from /proc."""

import contextlib
import os
import re
from collections.abc import Iterator

_FILE_BYTES = 1024
"""What the kernel keeps for a file, an empty one included."""
_RESIDENT = re.compile(rb"^(?:VmRSS|VmSwap):\s*(\d+) kB$", re.MULTILINE)
_SHARED_OUT = re.compile(rb"^(?:Pss|SwapPss):\s*(\d+) kB$", re.MULTILINE)


def measure_memory(root: int, limit: int, file_systems: tuple[str, ...] = (), size: int = 0) -> int:
    """Bytes in memory and swap, with the files in the tmpfs `file_systems` of `size` that the descendants see.

    Pages that processes share are counted once for each, unless that exceeds the limit: to share them out takes longer.
    """
    processes = list(_tree(root))
    files = _files(processes, file_systems, size)
    used = files + sum(_fields(pid, "status", _RESIDENT) or 0 for pid in processes)
    if used <= limit:
        return used
    return files + sum(_read_shared_part(pid) for pid in processes)


def children(pid: int) -> Iterator[int]:
    """The processes that its threads have started; none where it has ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def _read_shared_part(pid: int) -> int:
    """A process's part of what it shares; all of it where that may not be read."""
    shared_out = _fields(pid, "smaps_rollup", _SHARED_OUT)
    return shared_out if shared_out is not None else _fields(pid, "status", _RESIDENT) or 0


def _tree(root: int) -> Iterator[int]:
    """The process and its descendants, parents first; a process that ends meanwhile may be missing."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children(pid)


def _fields(pid: int, name: str, wanted: re.Pattern[bytes]) -> int | None:
    """The sum of fields given in kB; None where the file cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            content = file.read()
    except OSError:
        return None
    # The first line is no field: in `status` it is the name that a process gave itself, any bytes but a line's end.
    return sum(int(kilobytes) << 10 for kilobytes in wanted.findall(content.partition(b"\n")[2]))


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
