"""One writer to a folder.

    with folder_lock(Path("runs/x"), "spo-data"):
        ...

The folder is made where it is not there.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from spo_data.errors import UserError


@contextlib.contextmanager
def folder_lock(out: Path, command: str) -> Iterator[None]:
    """Hold a folder for writing; raises UserError where another process of `command` holds it."""
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
