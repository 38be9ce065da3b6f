"""SPO's part of a verl checkpoint: `global_step_N/spo/state.npz`, beside verl's `actor`.

It is written to a temporary file and renamed before verl writes `latest_checkpointed_iteration.txt`, so a checkpoint
that verl resumes from has it whole. verl's `max_actor_ckpt_to_keep` deletes only old `actor` folders; `prune` then
deletes SPO's folders beside them.
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
    """Return SPO's folder in the checkpoint of a step."""
    return folder_in(Path(checkpoints) / f"global_step_{step}")


def folder_in(checkpoint: str | Path) -> Path:
    """Return SPO's folder in one checkpoint."""
    return Path(checkpoint) / "spo"


def save(state: Mapping[str, npt.NDArray[Any]], folder: Path) -> None:
    """Write the state, replacing what an earlier attempt left."""
    folder.mkdir(parents=True, exist_ok=True)
    with replace_whole(folder / STATE) as fresh, fresh.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type] # numpy's stub takes the arrays for allow_pickle


def load(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the state; raises FileNotFoundError if the checkpoint has none."""
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the checkpoint was made without SPO, which cannot continue from it"
        )
    with np.load(path) as arrays:
        return dict(arrays)


def prune(checkpoints: str | Path, keep: int) -> None:
    """Delete SPO's state of every checkpoint whose model verl has deleted, except that of step `keep`."""
    for folder in Path(checkpoints).glob("global_step_*"):
        if folder.name != f"global_step_{keep}" and not (folder / "actor").exists():
            shutil.rmtree(folder_in(folder), ignore_errors=True)
