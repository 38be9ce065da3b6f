"""The temporary folder of a pool of processes, and the removal of what killed pools left.

    folder = PoolFolder()            # removes first what dead pools left
    context = folder.record_locks(multiprocessing.get_context("spawn"))
    mark_process(folder.path)        # in each process
    folder.remove()

A pool's own process holds a lock on the folder's file `owner` for as long as it lives, so a folder without the lock is
a dead pool's. Its processes are killed only if they are still the processes that left their marks.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import RLock
from pathlib import Path
from typing import IO, Any

PREFIX = "spo-data-graders-"
_OWNER = "owner"
_SEMAPHORES = Path("/dev/shm")


class PoolFolder:
    """A folder in which each process of a pool leaves a mark: a file named after its process id."""

    def __init__(self) -> None:
        remove_leftovers()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        fresh = self.path / f"{_OWNER}.new"
        self._owner = fresh.open("w")
        with contextlib.suppress(OSError):  # a file system without locks: later pools leave the folder alone
            fcntl.flock(self._owner, fcntl.LOCK_EX)
            fresh.rename(self.path / _OWNER)  # nobody finds it before it is locked

    def record_locks(self, context: BaseContext) -> Any:
        """Return the context, with locks whose semaphores the folder names: a killed pool does not remove them."""
        return _RecordedLocks(context, self._owner)

    def marks(self) -> list[Path]:
        """Return the marks of the processes; none if somebody cleaned up the temporary folder."""
        return [mark for mark in self.path.glob("*") if mark.name.isdecimal()]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def mark_process(folder: Path) -> None:
    """Leave this process's mark in a pool's folder."""
    with contextlib.suppress(OSError):
        (folder / str(os.getpid())).write_text(_identify(os.getpid()))


def remove_leftovers() -> None:
    """Remove the folders, processes and semaphores of pools whose own process is dead; those of others stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its pool lives
            for mark in folder.glob("*"):
                if mark.name.isdecimal():
                    _kill_if_same(int(mark.name), mark.read_text())
            for line in owner.read().splitlines():
                name, _, number = line.partition(" ")
                if _semaphore(name).exists() and str(_semaphore(name).stat().st_ino) == number:
                    _semaphore(name).unlink()
            shutil.rmtree(folder)


class _RecordedLocks:
    def __init__(self, context: BaseContext, record: IO[str]) -> None:
        self._context, self._record = context, record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def RLock(self) -> RLock:  # noqa: N802 # multiprocessing's name
        lock = self._context.RLock()
        name = lock._semlock.name  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # a system that keeps semaphores elsewhere
            self._record.write(f"{name} {_semaphore(name).stat().st_ino}\n")
            self._record.flush()
        return lock


def _semaphore(name: str) -> Path:
    """Return Linux's file of a named semaphore, whose name begins with a slash."""
    return _SEMAPHORES / f"sem.{name.removeprefix('/')}"


def _identify(pid: int) -> str:
    """Return what tells a process from a later one with its number: boot, namespace and start, in clock ticks."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot} {os.readlink(f'/proc/{pid}/ns/pid')} {started}"


def _kill_if_same(pid: int, identity: str) -> None:
    """Kill a process and its children, which are in its process group, if it is the one that left the mark."""
    with contextlib.suppress(OSError):
        if _identify(pid) == identity and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
