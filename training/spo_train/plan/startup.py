"""What would end a training run after minutes, or never: looked at before anything is loaded.

    refuse_node(nodes, devices)       # before a configuration is made for a machine that is the wrong one
    check_startup(config, …)          # raises UserError, or SpoError for what this machine lacks
    list_notes(config, …)             # what may be too little

The check that may have to wait, for a Ray cluster's answer, comes last.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_data.models.heads import Heads
from spo_data.ray_address import refuse_stale_address
from spo_train.config.keys import RAY_ADDRESS_KEY
from spo_train.config.precision import check_precision
from spo_train.plan.attention import check_attention, check_attention_kernels
from spo_train.plan.checkpoint_size import CheckpointSize
from spo_train.plan.disk import check_disk, note_disk
from spo_train.plan.divided_heads import check_heads
from spo_train.plan.loggers import check_loggers
from spo_train.plan.ray_resources import OWN, check_ray, find_address
from spo_train.plan.shared_memory import check_shared_memory, note_shared_memory
from spo_train.plan.weight_transfer import check_transfer

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.engines.accelerators import Accelerators


def refuse_node(nodes: int, devices: "Accelerators", given: object = None) -> None:
    """Raise UserError if a cluster's training run is started on a machine without a GPU, which would train alone.

    Or if the cluster has ended. `given` is the override of Ray's address, with which RAY_ADDRESS is not read.
    """
    name, address = RAY_ADDRESS_KEY, given
    if given in (None, "auto"):
        refuse_stale_address()
        name, address = "RAY_ADDRESS", os.environ.get("RAY_ADDRESS")
    if not devices.on_cpu:
        return
    if nodes > 1:
        raise UserError(
            f"--nodes {nodes}: this machine has no GPU, and spo-train takes the GPUs of each node to be those of its"
            " own: start it on a node with GPUs"
        )
    if address and address != OWN:
        raise UserError(
            f"{name}={address}: this machine has no GPU; start spo-train on a node of the cluster that has, or"
            f" unset {name} to train on this machine's CPU"
        )


def check_startup(
    config: "DictConfig", heads: Heads | None, checkpoints: CheckpointSize, devices: "Accelerators"
) -> None:
    """Raise an error for the first thing that training would find too late."""
    check_heads(config, heads)
    check_precision(config)
    check_attention(config)
    check_loggers(config, os.environ, elsewhere=find_address(config, config.trainer.nnodes) is not None)
    check_disk(Path(str(config.trainer.default_local_dir)), checkpoints.each)
    check_shared_memory(config, on_cpu=devices.on_cpu)
    if not devices.on_cpu:
        check_attention_kernels(config)
        check_transfer(config)
    check_ray(config, devices)


def list_notes(config: "DictConfig", checkpoints: CheckpointSize, devices: "Accelerators") -> list[str]:
    """Return remarks on what may be too little on this machine."""
    disk = note_disk(Path(str(config.trainer.default_local_dir)), checkpoints)
    return [note for note in (note_shared_memory(on_cpu=devices.on_cpu), disk) if note is not None]
