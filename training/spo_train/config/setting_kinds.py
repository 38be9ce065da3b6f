"""The kinds of values that settings must have from which spo-train derives others, before verl sees them.

check_kinds(config)        # raises UserError for the first: "trainer.save_freq=null: wanted a whole number"
"""

from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_train.config.keys import (
    ACTOR,
    CHECKPOINTS_KEY,
    ENGINE_SHARE_KEY,
    EPOCHS_KEY,
    LOADED_KEY,
    LORA_RANK_KEY,
    RAY_CPUS_KEY,
    RAY_INIT,
    ROLLOUT,
    SAVE_KEY,
    SAVED_KEY,
    SHARDS_KEY,
)
from spo_train.config.unsupported import format_override

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_kinds(config: "DictConfig") -> None:
    """Raise UserError for the first setting of a wrong kind."""
    from omegaconf import DictConfig, ListConfig, OmegaConf

    def refuse(key: str, wanted: str) -> None:
        raise UserError(f"{key}={format_override(OmegaConf.select(config, key))}: wanted {wanted}")

    for key in (SAVE_KEY, LORA_RANK_KEY, SHARDS_KEY, EPOCHS_KEY, f"{ROLLOUT}.top_k"):
        value = OmegaConf.select(config, key)
        if not is_whole(value):
            refuse(key, "a whole number")
    for key in (f"{ROLLOUT}.temperature", f"{ROLLOUT}.top_p"):
        value = OmegaConf.select(config, key)
        if not is_number(value):
            refuse(key, "a number")
    length = OmegaConf.select(config, f"{ROLLOUT}.max_model_len")
    if length is not None and not is_whole(length):
        refuse(f"{ROLLOUT}.max_model_len", "a whole number, or null")
    own = f"{ACTOR}.optim.override_optimizer_config"
    if not isinstance(OmegaConf.select(config, own), DictConfig | None):
        refuse(own, "key: value pairs, or null")
    if not isinstance(OmegaConf.select(config, RAY_INIT), DictConfig):
        refuse(RAY_INIT, "key: value pairs")
    cpus = OmegaConf.select(config, RAY_CPUS_KEY)
    if cpus is not None and not is_number(cpus):
        refuse(RAY_CPUS_KEY, "a number, or null")
    share = OmegaConf.select(config, ENGINE_SHARE_KEY)
    if not is_number(share) or not 0 < share <= 1:
        refuse(ENGINE_SHARE_KEY, "a number above 0, at most 1")
    for key in (SAVED_KEY, LOADED_KEY):
        if not isinstance(OmegaConf.select(config, key), ListConfig):
            refuse(key, "a list, such as [model,optimizer,extra]")
    if not isinstance(OmegaConf.select(config, CHECKPOINTS_KEY), str):
        refuse(CHECKPOINTS_KEY, "a folder")
    if OmegaConf.select(config, "transfer_queue.backend") is None:
        refuse("transfer_queue.backend", "verl's settings of its queue")


def is_whole(value: Any) -> bool:
    """Return whether a setting is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a setting is a number, which true and false are not."""
    return isinstance(value, float) or is_whole(value)
