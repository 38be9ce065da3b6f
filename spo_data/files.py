"""How folders and files are written: by one writer, whole or not at all, and never over something of the user's.

with folder_lock(Path("runs/x"), "spo-data"):
    write_whole(Path("runs/x/run.json"), text)

check_free(out)
with appears_whole(out) as fresh:
    fresh.write_text("...")
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spo_data.errors import UserError, first_line


@contextmanager
def folder_lock(out: Path, command: str) -> Iterator[None]:
    """Hold a folder for writing, made if it is absent; raises UserError if another process of `command` holds it."""
    from filelock import FileLock, Timeout

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another {command} is writing to {out}: wait for it or end it") from error
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole, in place of the one that is there."""
    with replace_whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to; synced to disk and renamed to `path` when the block ends well.

    Whoever reads `path`, also after a crash, finds the old file or the new one.
    """
    fresh = path.with_name(f".{path.name}.new")
    yield fresh
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def check_free(out: Path) -> None:
    """Raise UserError where something is there, a link that leads nowhere included; an empty folder is free."""
    try:
        place = out.resolve()
        taken = out.is_symlink() or (any(place.iterdir()) if place.is_dir() else place.exists())
    except (OSError, RuntimeError) as error:  # of a parent that is a link to itself
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UserError(f"--out {out} cannot be used: {reason}") from error
    if taken:
        raise UserError(f"--out {out} is there already: name another one, or remove it (rm -r {out})")


@contextmanager
def appears_whole(out: Path) -> Iterator[Path]:
    """A path beside `out` to write a file or folder to; it gets its name when the block ends well.

    A folder goes into an empty one that is there, `values/` last: whoever stands in that one still does.
    """
    place = out.resolve()
    fresh = place.with_name(f".{place.name}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove(fresh)
        yield fresh
        check_free(out)  # still
        if fresh.is_dir() and place.is_dir():
            for path in sorted(fresh.iterdir()):
                path.rename(place / path.name)
        else:
            if place.is_dir():
                place.rmdir()
            fresh.rename(place)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error}") from error
    finally:
        _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
