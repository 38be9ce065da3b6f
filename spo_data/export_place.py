"""Where an export or an import goes: never over something that is there, and whole or not at all.

check_free(out)
with appears_whole(out) as fresh:
    fresh.write_text("...")
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spo_data.errors import UserError, first_line


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
