"""The disk that checkpoints are written to: writable, with room for one of them.

    check_disk(folder, each)              # raises SpoError if the first checkpoint could not be written
    note_disk(folder, each, most)         # "…: 120 GB are free, 2 checkpoints take 197 GB"

Nothing is written: a folder that is not there yet is judged by the nearest one that is.
"""

import functools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import SpoError, UserError, reason
from spo_train.config.keys import CHECKPOINTS_KEY

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.models.names import Model

WIDTHS = {"bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "16": 2}
"""Bytes of a number; 4 in all other formats that verl trains in."""
MOMENTS = 2
"""Numbers that Adam keeps for each parameter that is trained."""


def count_bytes(config: "DictConfig", parameters: int) -> int:
    """Return the bytes of verl's checkpoint of a model, or 0 if the configuration saves none."""
    if config.trainer.save_freq <= 0:
        return 0
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    contents = list(actor.checkpoint.save_contents)
    adapter = model.lora_rank > 0 or model.lora_adapter_path is not None
    numbers = ("model" in contents) + (0 if adapter else MOMENTS * ("optimizer" in contents))
    return parameters * numbers * WIDTHS.get(str(actor.fsdp_config.model_dtype), 4)


@functools.cache
def count_parameters(model: "Model") -> int | None:
    """Return a model's parameters from its configuration alone, or None if transformers has no such model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(model.path, revision=model.hub_revision)
            )
    except Exception:  # a model of another kind: verl says what it is
        return None
    return sum(int(parameter.numel()) for parameter in empty.parameters())


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
            f"a checkpoint takes {_format(each)}, {place} has {_format(free)} free: make room, or"
            f" {CHECKPOINTS_KEY}=… on another disk"
        )


def note_disk(folder: Path, each: int | None, most: int) -> str | None:
    """Return a remark if the most checkpoints that lie there at once do not fit, or None."""
    place = _find_existing(folder)
    if not each or not place.is_dir() or (free := find_room(place)) >= most * each:
        return None
    return (
        f"{place} has {_format(free)} free, {most:,} checkpoints take {_format(most * each)}:"
        " trainer.max_actor_ckpt_to_keep=1 keeps the newest only"
    )


def _find_existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def find_room(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise SpoError(f"{folder}: {reason(error)}") from error


def _format(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number < 1e11 else f"{number / 1e9:,.0f} GB"
