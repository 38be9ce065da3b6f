"""Checkpoints as verl and SPO leave them, without weights.

make_checkpoint(folder, 20, prompt_ids)                # global_step_20, of one worker
mark_latest(folder, 20)
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PARTS = ("model", "optim", "extra_state")


def make_checkpoint(folder: Path, step: int, prompt_ids: Sequence[str] = ("p",), *, workers: int = 1) -> Path:
    """Write a whole checkpoint; returns its folder."""
    place = folder / f"global_step_{step}"
    write_shards(place / "actor", workers)
    write_state(place, prompt_ids)
    (place / "data.pt").write_bytes(b"")
    return place


def write_shards(actor: Path, workers: int) -> None:
    """Write what each of verl's workers saves, as zip archives like torch's, and what the first one adds."""
    actor.mkdir(parents=True)
    for part in PARTS:
        for rank in range(workers):
            with zipfile.ZipFile(actor / f"{part}_world_size_{workers}_rank_{rank}.pt", "w") as archive:
                archive.writestr("archive/data.pkl", b"weights" * 20)
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": workers}))


def write_state(place: Path, prompt_ids: Sequence[str]) -> None:
    """Write SPO's state of these prompts into a checkpoint."""
    from spo_train.hooks import checkpoint
    from spo_train.spo.settings import SPOSettings
    from spo_train.spo.single_stream import SingleStream

    scores = np.ones(len(prompt_ids))
    stream = SingleStream(prompt_ids, scores, scores.astype(np.int64) * 2, SPOSettings(values="values.parquet"))
    checkpoint.save(stream.state(), checkpoint.folder_in(place))


def mark_latest(folder: Path, text: object) -> None:
    """Write `latest_checkpointed_iteration.txt`."""
    (folder / "latest_checkpointed_iteration.txt").write_text(str(text))
