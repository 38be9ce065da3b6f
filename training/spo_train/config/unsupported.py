"""Settings of verl that an SPO training run would ignore or misread.

    refuse_unsupported(config, validation=False)        # raises UserError: one line, with what to do instead

verl accepts them and would silently not do what they ask for.
"""

from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_train.config.keys import (
    DEFAULT_LOOP_KEY,
    DEVICE_KEY,
    FILTER_OVERLONG_KEY,
    REFILL_KEY,
    ROLLOUT,
    SAMPLER,
    SPO,
)
from spo_train.config.preset import LOOP_NAME, REWARD_MANAGER

if TYPE_CHECKING:
    from omegaconf import DictConfig

OWN_SAMPLER = f"spo-train has its own sampler; {SPO}.batch_order chooses its order"
FIXED: dict[str, tuple[Any, str]] = {
    "algorithm.filter_groups.enable": (False, "spo-train trains on every group: leave it false"),
    f"{SAMPLER}.custom_sampler.path": (None, OWN_SAMPLER),
    f"{SAMPLER}.custom_sampler.name": (None, OWN_SAMPLER),
    f"{SAMPLER}.sampler_kwargs": (None, OWN_SAMPLER),
    REFILL_KEY: (True, "failed samples are always replaced: leave it true"),
    "reward.custom_reward_function.path": (None, "use --verifier FILE.py:FUNCTION"),
    **{
        key: (value, "spo-train grades responses as the estimate did; use --verifier for another grader")
        for key, value in REWARD_MANAGER.items()
    },
    "reward.reward_model.enable": (False, "the reward is the verifier's verdict; use --verifier for another one"),
    "trainer.use_v1": (True, "spo-train runs in verl's V1 trainer: leave it true"),
    DEFAULT_LOOP_KEY: (LOOP_NAME, f"spo-train samples responses as the estimate did: leave it {LOOP_NAME}"),
    f"{ROLLOUT}.name": ("vllm", f"responses are sampled by vLLM: {ROLLOUT}.name=vllm"),
    **{
        f"{ROLLOUT}.multi_turn.{name}": (
            unset,
            "spo-train uses no tools of verl; --tools python gives the model Python",
        )
        for name, unset in (("enable", False), ("tool_config_path", None), ("function_tool_path", None))
    },
    f"{ROLLOUT}.ignore_eos": (False, "a response ends where the model ends it: leave it false"),
    "data.val_batch_size": (None, "failed samples are counted over all validation prompts: leave it null"),
    "data.train_max_samples": (-1, "each row belongs to a value; to train on fewer prompts, use --train-files"),
    FILTER_OVERLONG_KEY: (False, "each row belongs to a value; to leave out long prompts, use --train-files"),
}
"""The value that a setting must have, and what to do instead of setting another."""


def refuse_unsupported(config: "DictConfig", *, validation: bool) -> None:
    """Raise UserError for the first unsupported setting; `validation` is whether there are validation prompts."""
    from omegaconf import OmegaConf

    for key, (wanted, instead) in FIXED.items():
        value = OmegaConf.select(config, key)
        if (value or None) != (wanted or None):  # unset, empty and false are the same
            raise UserError(f"{key}={format_override(value)}: {instead}")
    if validation:
        return
    trainer = config.trainer
    for key in ("test_freq", "val_before_train", "val_only"):
        if (trainer[key] or 0) > 0:
            raise UserError(
                f"trainer.{key}={format_override(trainer[key])}: there are no validation prompts; give --val-files"
            )


def refuse_device(config: "DictConfig", *, on_cpu: bool) -> None:
    """Raise UserError if verl would look for a device that the machine does not have, or leave its GPUs idle."""
    device, here = config.trainer.device, "cpu" if on_cpu else "cuda"
    if device != here:
        there = "has no accelerator" if on_cpu else "has accelerators"
        raise UserError(f"{DEVICE_KEY}={format_override(device)}: this machine {there}: {DEVICE_KEY}={here}")


def format_override(value: Any) -> str:
    """Return a value as it is written in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
