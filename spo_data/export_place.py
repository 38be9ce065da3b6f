"""Where an export or an import goes: never over something that is there, and whole or not at all.

check_free(out)
with appears_whole(out) as fresh:
    fresh.write_text("...")
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spo_data.errors import UserError


def check_free(out: Path) -> None:
    """Raise UserError where something is there; an empty folder is free."""
    try:
        taken = any(out.iterdir()) if out.is_dir() else out.exists()
    except OSError as error:
        raise UserError(f"--out {out} cannot be used: {error.strerror}") from error
    if taken:
        raise UserError(f"--out {out} is there already: name another one, or remove it (rm -r {out})")


@contextmanager
def appears_whole(out: Path) -> Iterator[Path]:
    """A path beside `out` to write a file or folder to; it gets its name when the block ends well."""
    fresh = out.with_name(f".{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove(fresh)
        yield fresh
        if out.is_dir():
            out.rmdir()  # empty, or it would not be free
        fresh.rename(out)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error}") from error
    finally:
        _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
