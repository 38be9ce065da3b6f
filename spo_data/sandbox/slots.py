"""A core and a user for each program that runs on this machine, shared with no other program while there are enough.

    with claim_slot() as slot:
        os.sched_setaffinity(pid, {slot.core})

All commands on the machine share the slots: each is an abstract Unix socket, which the kernel frees with its process.
"""

import errno
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
"""The user and group inside the sandbox, and outside it too if no user of the slot's own is available."""
FIRST_USER = 1_880_000_000
"""The first of the users and groups outside the sandbox, if we are root. By systemd's table of user ids, distributions
and containers use none from 1,879,048,192 to 2,147,352,575."""
_MOST_CORES = 8192
"""The most that Linux can be built for."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a program has for itself."""

    core: int
    user: int
    """Its user and group outside the sandbox, if we are root."""


@contextmanager
def claim_slot() -> Iterator[Slot]:
    """Yield a slot on the core that has the fewest programs; with more programs than cores, they share cores."""
    cores = sorted(os.sched_getaffinity(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        for turn, core in ((turn, core) for turn in itertools.count() for core in cores):
            try:
                claim.bind(f"\0spo-data-program-{turn}-{core}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            user = FIRST_USER + turn * _MOST_CORES + core
            yield Slot(core, user if _is_mapped(user) else NOBODY)
            return


def _is_mapped(user: int) -> bool:
    """Whether this container has the user and the group; most have only 65,536 of them, or all."""
    return all(
        any(int(first) <= user < int(first) + int(count) for first, _, count in map(str.split, lines))
        for lines in (Path(f"/proc/self/{kind}_map").read_text().splitlines() for kind in ("uid", "gid"))
    )
