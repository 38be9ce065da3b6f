"""The disk that checkpoints are written to: writable, with room for one of them.

    check_disk(folder, each)              # raises SpoError if the first checkpoint could not be written
    note_disk(folder, checkpoints)        # "…: 120 GB are free, 2 checkpoints take 197 GB"

Nothing is written: a folder that is not there yet is judged by the nearest one that is.
"""

import os
import shutil
from pathlib import Path

from spo_data.errors import SpoError, UserError, reason
from spo_train.config.keys import CHECKPOINTS_KEY, KEEP_KEY
from spo_train.plan.checkpoint_size import CheckpointSize, show_gigabytes


def check_disk(folder: Path, each: int | None) -> None:
    """Raise an error if a checkpoint of so many bytes could not be written; None for an unknown size."""
    place = _find_existing(folder)
    if not place.is_dir():
        raise UserError(f"{CHECKPOINTS_KEY}={folder}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise SpoError(f"{CHECKPOINTS_KEY}={folder}: {place} cannot be written to; {CHECKPOINTS_KEY}=… names another")
    free = find_room(place)
    if each is not None and free < each:
        raise SpoError(
            f"a checkpoint takes {show_gigabytes(each)}, {place} has {show_gigabytes(free)} free: make room, or"
            f" {CHECKPOINTS_KEY}=… on another disk"
        )


def note_disk(folder: Path, checkpoints: CheckpointSize) -> str | None:
    """Return a remark if the most checkpoints that lie there at once do not fit, or None."""
    place, needed = _find_existing(folder), checkpoints.disk
    if not needed or not place.is_dir() or (free := find_room(place)) >= needed:
        return None
    fewer = f", or {KEEP_KEY}=2" if checkpoints.most > 2 else ""
    return (
        f"{place} has {show_gigabytes(free)} free, {checkpoints.most:,} checkpoints take {show_gigabytes(needed)}: make"
        f" room, or {CHECKPOINTS_KEY}=… on another disk{fewer}"
    )


def _find_existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def find_room(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise SpoError(f"{folder}: {reason(error)}") from error
