"""The attention kernels that verl trains with, which are a package of their own.

check_attention(config)        # raises SpoError if verl would use flash-attn and it is not installed
"""

import importlib.util
from typing import TYPE_CHECKING

from spo_data.errors import SpoError
from spo_train.config.keys import MODEL

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_attention(config: "DictConfig") -> None:
    """Raise SpoError if verl would use flash-attn and it is not installed."""
    from omegaconf import OmegaConf

    chosen = OmegaConf.select(config, f"{MODEL}.override_config.attn_implementation")
    if chosen in (None, "flash_attention_2") and importlib.util.find_spec("flash_attn") is None:
        raise SpoError(
            "verl trains with flash-attn, which is not installed: pip install flash-attn --no-build-isolation"
        )
