"""The accelerators to train on.

    find_accelerators()        # Accelerators(on_cpu=False, name="NVIDIA H100 80GB HBM3", count=8)

torch is imported when it is needed.
"""

import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spo_data.errors import SpoError
from spo_train.config.keys import MODEL

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Accelerators:
    """The accelerators of this machine, or its CPU."""

    on_cpu: bool
    name: str
    count: int
    """On each node."""


def find_accelerators() -> Accelerators:
    """Return the accelerators that torch sees, or one CPU if it sees none."""
    import torch

    import verl_cpu

    if verl_cpu.is_needed():
        return Accelerators(on_cpu=True, name=f"CPU ({os.cpu_count()} cores)", count=1)
    return Accelerators(on_cpu=False, name=str(torch.cuda.get_device_name()), count=torch.accelerator.device_count())


def check_attention(config: "DictConfig") -> None:
    """Raise SpoError if verl would use flash-attn and it is not installed."""
    from omegaconf import OmegaConf

    chosen = OmegaConf.select(config, f"{MODEL}.override_config.attn_implementation")
    if chosen in (None, "flash_attention_2") and importlib.util.find_spec("flash_attn") is None:
        raise SpoError(
            "verl trains with flash-attn, which is not installed: pip install flash-attn --no-build-isolation"
        )
