"""The kinds of values that settings must have from which spo-train derives others, before verl sees them.

check_kinds(config)        # raises UserError for the first: "trainer.save_freq=null: wanted a whole number"
"""

from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.keys import (
    CHECKPOINTS_KEY,
    ENGINE_SHARE_KEY,
    LOADED_KEY,
    LORA_RANK_KEY,
    RAY_CPUS_KEY,
    SAVE_KEY,
    SAVED_KEY,
)
from spo_train.config.unsupported import format_override

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_kinds(config: "DictConfig") -> None:
    """Raise UserError for the first setting of a wrong kind."""
    from omegaconf import ListConfig, OmegaConf

    def refuse(key: str, wanted: str) -> None:
        raise UserError(f"{key}={format_override(OmegaConf.select(config, key))}: wanted {wanted}")

    for key in (SAVE_KEY, LORA_RANK_KEY):
        value = OmegaConf.select(config, key)
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(key, "a whole number")
    cpus = OmegaConf.select(config, RAY_CPUS_KEY)
    if cpus is not None and (isinstance(cpus, bool) or not isinstance(cpus, int | float)):
        refuse(RAY_CPUS_KEY, "a number, or null")
    share = OmegaConf.select(config, ENGINE_SHARE_KEY)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        refuse(ENGINE_SHARE_KEY, "a number above 0, at most 1")
    for key in (SAVED_KEY, LOADED_KEY):
        if not isinstance(OmegaConf.select(config, key), ListConfig):
            refuse(key, "a list, such as [model,optimizer,extra]")
    if not isinstance(OmegaConf.select(config, CHECKPOINTS_KEY), str):
        refuse(CHECKPOINTS_KEY, "a folder")
    if OmegaConf.select(config, "transfer_queue.backend") is None:
        refuse("transfer_queue.backend", "verl's settings of its queue")
