"""SPO's part of a verl checkpoint, `global_step_N/spo/state.npz` beside verl's `actor`, and which checkpoints are kept.

It is written to a temporary file and renamed before verl writes `latest_checkpointed_iteration.txt`, so a checkpoint
that verl resumes from has it whole.

verl's `max_actor_ckpt_to_keep` deletes only models that the same process saved, and with 1 it deletes the model that
the file names before the file names the next. `make_room` and `prune` look at what lies in the folder instead.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spo_data.files import replace_whole
from spo_train.checkpoints import Checkpoint, delete_old

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
    write_arrays(state, folder / STATE)


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write arrays to an npz file, whole or not at all."""
    with replace_whole(path) as fresh, fresh.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # numpy's stub takes the arrays for allow_pickle


def load(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the state; raises FileNotFoundError if the checkpoint has none."""
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the checkpoint was made without SPO, which cannot continue from it"
        )
    with np.load(path) as arrays:
        return dict(arrays)


def make_room(checkpoints: str | Path, step: int, keep: int | None) -> None:
    """Prepare to save a step: delete what an earlier attempt left of it, and all but `keep` - 1 older checkpoints.

    One older checkpoint always stays. None keeps all.
    """
    Checkpoint(step, Path(checkpoints) / f"global_step_{step}").delete()
    if keep is not None:
        delete_old(Path(checkpoints), step, max(1, keep - 1))


def prune(checkpoints: str | Path, step: int, keep: int | None) -> None:
    """Delete all but the `keep` newest checkpoints, of which `step` was just saved; None keeps all."""
    if keep is not None:
        delete_old(Path(checkpoints), step, keep - 1)
