"""The checkpoints of a training run: which there are, and what a broken one lacks.

    read_latest(folder)                           # 40, from the file that verl writes when a checkpoint is whole
    newest = find_checkpoints(folder)[-1]         # global_step_40
    newest.find_fault(workers=8)                  # None, or "global_step_40 has no actor/optim_world_size_8_rank_3.pt"

A checkpoint holds each worker's weights, optimizer and extra state (scheduler, generators) in `actor/`, and SPO's state
in `spo/`. torch and numpy write zip archives, whose table of contents comes last: a file that was cut short has none,
so it is found without reading the file.
"""

import contextlib
import json
import pickle
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_train.filenames import LATEST

STATE = "spo/state.npz"
PARTS = ("model", "optim", "extra_state")
"""What verl saves of each worker, as its file names begin."""
_WRITTEN = ("actor", "critic", "spo", "transfer_queue", "data.pt")
"""What verl and SPO write into a checkpoint; the rest is a user's."""
_STEP = re.compile(r"global_step_(\d+)")
_SHARD = re.compile(rf"(?:{'|'.join(PARTS)})_world_size_(\d+)_rank_\d+\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """A folder `global_step_N`, whole or not."""

    step: int
    path: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    def find_fault(self, workers: int | None = None) -> str | None:
        """Return why training cannot continue from it, or None if it is whole.

        `workers` is how many must have saved it; None for any number.
        """
        if not self.path.is_dir():
            return f"{self.path} is missing"
        saved = self.count_workers()
        if not saved:
            return f"{self.name} has no weights in actor/"
        if workers is not None and workers not in saved:
            return f"{self.name} was saved by {max(saved)} workers, not {workers}"
        count = workers or max(saved)
        for part in PARTS:
            for rank in range(count):
                shard = self.path / "actor" / f"{part}_world_size_{count}_rank_{rank}.pt"
                if not shard.is_file():
                    return f"{self.name} has no actor/{shard.name}"
                if not zipfile.is_zipfile(shard):
                    return f"{self.name}/actor/{shard.name} was cut short"
        if not (self.path / STATE).is_file():
            return f"{self.name} has no {STATE}, so it was made without SPO"
        return None if self.read_state_summary() else f"{self.name}/{STATE} cannot be read"

    def count_workers(self) -> set[int]:
        """Return how many workers saved it; more than one number if it was saved over another."""
        actor = self.path / "actor"
        names = [path.name for path in actor.iterdir()] if actor.is_dir() else []
        return {int(found[1]) for name in names if (found := _SHARD.fullmatch(name))}

    def read_fsdp_version(self) -> int | None:
        """Return 1 for verl's strategy `fsdp`, 2 for `fsdp2`, None if the checkpoint does not say."""
        try:
            return int(json.loads((self.path / "actor" / "fsdp_config.json").read_bytes())["FSDP_version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def read_state_summary(self) -> tuple[int, str] | None:
        """Return the number of prompts in SPO's state and its mark of them, or None if it cannot be read."""
        import numpy as np

        try:
            with np.load(self.path / STATE) as arrays:
                rest: dict[str, Any] = json.loads(str(arrays["rest"]))
                return len(arrays["tracker.visits"]), str(rest["prompts"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError):
            return None

    def delete(self) -> None:
        """Delete what verl and SPO wrote; the folder stays if a user put something into it."""
        for name in _WRITTEN:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, the oldest first."""
    steps = {path: _STEP.fullmatch(path.name) for path in folder.glob("global_step_*")}
    found = [Checkpoint(int(step[1]), path) for path, step in steps.items() if step]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def find_newest_whole(folder: Path, workers: int | None = None) -> Checkpoint | None:
    """Return the newest checkpoint that `workers`, or any number of them, can continue from."""
    return next((each for each in reversed(find_checkpoints(folder)) if each.find_fault(workers) is None), None)


def read_latest(folder: Path) -> int | None:
    """Return the step of the last whole checkpoint, as verl noted it; None if the note is absent or no number."""
    try:
        return int((folder / LATEST).read_text())
    except (OSError, ValueError):
        return None


def delete_old(folder: Path, step: int, keep: int) -> None:
    """Delete the checkpoints before the `keep` newest whole ones that are older than `step`.

    The one that `latest_checkpointed_iteration.txt` names is never deleted, nor is a later one than `step`.
    """
    older = [each for each in find_checkpoints(folder) if each.step < step]
    whole = [each for each in older if each.find_fault() is None]
    first = step if not keep else whole[-keep].step if len(whole) >= keep else 0
    for checkpoint in older:
        if checkpoint.step < first and checkpoint.step != read_latest(folder):
            checkpoint.delete()
