"""SPO's part of a verl checkpoint: `global_step_N/spo/state.npz`, beside verl's `actor`.

It is written before verl writes `latest_checkpointed_iteration.txt`, and by temp file and rename: a checkpoint that
verl resumes from has it whole. verl's `max_actor_ckpt_to_keep` deletes old `actor` folders alone; `prune` deletes ours
of the checkpoints that have lost theirs.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spo_data.files import replace_whole

STATE = "state.npz"


def folder_of(checkpoints: str | Path, step: int) -> Path:
    """Our folder in the checkpoint of a step."""
    return folder_in(Path(checkpoints) / f"global_step_{step}")


def folder_in(checkpoint: str | Path) -> Path:
    """Our folder in one checkpoint."""
    return Path(checkpoint) / "spo"


def save(state: Mapping[str, npt.NDArray[Any]], folder: Path) -> None:
    """Write the state; what an earlier try left is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    with replace_whole(folder / STATE) as fresh, fresh.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type] # numpy's stub takes the arrays for allow_pickle


def load(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """The state; raises FileNotFoundError, with what to do, where the checkpoint has none."""
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint was made without SPO, and cannot go on with it")
    with np.load(path) as arrays:
        return dict(arrays)


def prune(checkpoints: str | Path, keep: int) -> None:
    """Delete our state of every checkpoint but `keep` whose model verl has deleted."""
    for folder in Path(checkpoints).glob("global_step_*"):
        if folder.name != f"global_step_{keep}" and not (folder / "actor").exists():
            shutil.rmtree(folder_in(folder), ignore_errors=True)
