"""Measure how much memory a process and its descendants use, and what the kernel keeps for them.

inside = list(walk_tree(root))[-1]           # a process that lives as long as the sandbox
measure_sandbox(inside) + sum(read_size(pid) + read_objects(pid, set()) for pid in walk_tree(root))

`read_shared_part` and `read_objects` wait for a lock that the program itself may hold for seconds (the kernel's
mmap_lock): memory_limit.py calls them in threads of their own. The others never wait for the program.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator

from spo_data.sandbox.bubblewrap import FILE_SYSTEMS

_FILE_BYTES = 1024
"""Bytes that the kernel keeps for each file, even an empty one, and for each open file."""
PIPE_BYTES = 16 * 4096
_OBJECT_BYTES = 256
"""Bytes that the kernel keeps for a mapping of memory, a lock on a file, or a file that epoll watches."""
UNREADABLE_BYTES = 32 << 20
"""What counts for a process that hides its objects: about the most that it can have."""
_OTHER_OBJECTS_BYTES = 4 << 20
"""What a process's open files, locks and watched files take at most in ordinary use."""
_SIZES = re.compile(rb"^(?:VmRSS|VmSwap|VmPTE):\s*(\d+) kB$", re.MULTILINE)
_ADDRESSES = re.compile(rb"^VmSize:\s*(\d+) kB$", re.MULTILINE)
_TABLES = re.compile(rb"^VmPTE:\s*(\d+) kB$", re.MULTILINE)
_SHARED_OUT = re.compile(rb"^(?:Pss|SwapPss):\s*(\d+) kB$", re.MULTILINE)
_SOCKETS = re.compile(rb"^sockets: used (\d+)$", re.MULTILINE)
_OBJECTS = re.compile(rb"^(?:lock|tfd):", re.MULTILINE)


def measure_sandbox(inside: int | None) -> int:
    """Return the bytes of the files and sockets of the sandbox that `inside` is in; 0 without a sandbox."""
    return 0 if inside is None else _measure_files(inside) + measure_sockets(inside)


def read_size(pid: int) -> int:
    """Return a process's bytes in memory and swap, shared ones included, and its page tables; 0 if it has ended."""
    return _sum_fields(pid, "status", _SIZES) or 0


def read_shared_part(pid: int) -> int:
    """Return a process's memory with its part of shared pages, or with all of them if the parts cannot be read."""
    shared_out = _sum_fields(pid, "smaps_rollup", _SHARED_OUT)
    return read_size(pid) if shared_out is None else shared_out + (_sum_fields(pid, "status", _TABLES) or 0)


def read_objects(pid: int, pipes: set[tuple[int, int]]) -> int:
    """Return the bytes of what no process's size shows: mappings, open files, locks, and what epoll watches.

    Its pipes, PIPE_BYTES each, are added to the set, because processes share them. 0 if the process has ended.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            used = file.read().count(b"\n") * _OBJECT_BYTES
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(f"/proc/{pid}/fd/{descriptor}")
                if stat.S_ISFIFO(found.st_mode):
                    pipes.add((found.st_dev, found.st_ino))
                with open(f"/proc/{pid}/fdinfo/{descriptor}", "rb") as file:
                    used += _FILE_BYTES + len(_OBJECTS.findall(file.read())) * _OBJECT_BYTES
        return used
    except PermissionError:
        return UNREADABLE_BYTES
    except OSError:
        return 0


def read_most_objects(pid: int) -> int:
    """Return the most that `read_objects` may find: no process has more mappings than pages of address space."""
    pages = (_sum_fields(pid, "status", _ADDRESSES) or 0) // 4096
    return min(pages * _OBJECT_BYTES + _OTHER_OBJECTS_BYTES, UNREADABLE_BYTES)


def measure_sockets(inside: int | None) -> int:
    """Return the most bytes that the sandbox's sockets can hold, also those that a listener has not accepted yet."""
    if inside is None:
        return 0
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{inside}/net/sockstat", "rb") as file:
            found = _SOCKETS.search(file.read())
        with open("/proc/sys/net/core/wmem_default", "rb") as file:
            buffer = int(file.read())
        # A sender may exceed its buffer by the last message, which is at most half of the buffer.
        return int(found[1]) * buffer * 3 // 2 if found else 0
    return 0


def children(pid: int) -> Iterator[int]:
    """Yield the processes that its threads have started; nothing if it has ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def walk_tree(root: int) -> Iterator[int]:
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


def _measure_files(inside: int) -> int:
    used = 0
    with contextlib.suppress(OSError):
        for path in FILE_SYSTEMS:
            found = os.statvfs(f"/proc/{inside}/root{path}")
            used += (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * _FILE_BYTES
    return used
