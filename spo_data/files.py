"""Write folders and files: one writer at a time, whole or not at all, never over a user's files.

with folder_lock(Path("runs/x"), "spo-data"):
    write_whole(Path("runs/x/run.json"), text)

check_free(out)
with appears_whole(out) as fresh:
    fresh.write_text("...")
"""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spo_data.errors import SpoError, UserError, first_line, reason

LOCK_SECONDS = 2.0
"""How long a lock may be held before it is another writer's.

A process that is killed while it starts another leaves its lock to the new one for a moment, until that has loaded its
program.
"""


@contextmanager
def folder_lock(out: Path, command: str, seconds: float | None = None) -> Iterator[None]:
    """Lock a folder for writing, made if it is absent; raises UserError if another process of `command` holds it.

    A lock that is held is tried again for `seconds` (default: LOCK_SECONDS).
    """
    from filelock import FileLock, Timeout

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock", timeout=LOCK_SECONDS if seconds is None else seconds)
        lock.acquire()
    except Timeout as error:
        holders = _find_holders(out / ".lock")
        who = f" (process {', '.join(map(str, holders))})" if holders else ""
        raise UserError(f"another {command} is writing to {out}{who}: wait for it to finish, or stop it") from error
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def _find_holders(lock: Path) -> list[int]:
    """The other processes that have a lock file open, as far as this user may see them."""
    import psutil

    name = str(lock.resolve())
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(file.path == name for file in process.open_files()):
                found.append(process.pid)
    return found


def read_regular(path: Path) -> bytes:
    """Return what a file holds; raises OSError if it is a device or a named pipe, which may never end or never begin.

    A pipe that a shell has opened, as in `--config <(command)`, ends.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or _is_open_already(path)):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.read_bytes()


def _is_open_already(path: Path) -> bool:
    return re.match(r"/dev/(fd/|stdin$)|/proc/[^/]+/fd/", str(path)) is not None


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole, replacing an existing one."""
    with replace_whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it is synced and renamed to `path` if the block raises nothing.

    A reader of `path` finds the old file or the new one, even after a crash.
    """
    fresh = path.with_name(f".{path.name}.new")
    yield fresh
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def check_free(out: Path) -> None:
    """Raise UserError if `out` exists, even as a dangling link; an empty folder is free."""
    try:
        place = out.resolve()
        taken = out.is_symlink() or (any(place.iterdir()) if place.is_dir() else place.exists())
    except (OSError, RuntimeError) as error:  # RuntimeError: a parent links to itself
        why = reason(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(f"--out {out} cannot be used: {why}") from error
    if taken:
        raise UserError(f"--out {out} already exists: choose another path, or remove it (rm -r {out})")


@contextmanager
def clear_write_errors(out: Path) -> Iterator[None]:
    """Turn an OSError into a one-line SpoError that names the file, or `out` if the error names none."""
    try:
        yield
    except OSError as error:
        raise SpoError(f"{error.filename or out} cannot be written: {reason(error)}") from error


@contextmanager
def appears_whole(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` to write a file or folder to; it is renamed to `out` if the block raises nothing.

    An empty folder `out` stays: the new content moves into it, `values/` last, so a shell working in it sees the files.
    """
    place = out.resolve()
    fresh = place.with_name(f".{place.name}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove(fresh)
        yield fresh
        check_free(out)  # something may have been written there meanwhile
        if fresh.is_dir() and place.is_dir():
            for path in sorted(fresh.iterdir()):
                path.rename(place / path.name)
        else:
            if place.is_dir():
                place.rmdir()
            fresh.rename(place)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {reason(error)}") from error
    finally:
        _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
