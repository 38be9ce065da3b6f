"""Settings of verl that a training of ours would ignore, or take to mean something else.

    refuse_unsupported(config, validation=False)        # raises UserError: one line, with what is right instead

verl accepts them; what they ask for would silently not happen.
"""

from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_train.config.keys import ROLLOUT
from spo_train.config.preset import REWARD_MANAGER

if TYPE_CHECKING:
    from omegaconf import DictConfig

SAMPLER = "trainer.v1.sampler"
OWN_SAMPLER = "spo-train has its own sampler; trainer.spo.batch_order chooses its order"
FIXED: dict[str, tuple[Any, str]] = {
    "algorithm.filter_groups.enable": (False, "groups are not filtered, every one is trained on: leave it false"),
    f"{SAMPLER}.custom_sampler.path": (None, OWN_SAMPLER),
    f"{SAMPLER}.custom_sampler.name": (None, OWN_SAMPLER),
    f"{SAMPLER}.sampler_kwargs": (None, OWN_SAMPLER),
    f"{SAMPLER}.sync_refill_failed_groups": (True, "failed samples are always replaced: leave it true"),
    "reward.custom_reward_function.path": (None, "use --verifier FILE.py:FUNCTION"),
    **{
        key: (value, "responses are graded as the values were; use --verifier for another grader")
        for key, value in REWARD_MANAGER.items()
    },
    "reward.reward_model.enable": (False, "the reward is the verifier's verdict; use --verifier for another one"),
    "trainer.use_v1": (True, "spo-train runs in verl's V1 trainer: leave it true"),
    f"{ROLLOUT}.agent.default_agent_loop": ("spo_agent", "responses are drawn as the values were: leave it spo_agent"),
    f"{ROLLOUT}.name": ("vllm", f"responses are sampled by vLLM: {ROLLOUT}.name=vllm"),
    **{
        f"{ROLLOUT}.multi_turn.{name}": (unset, "responses use no tools of verl's; --tools python gives them Python")
        for name, unset in (("enable", False), ("tool_config_path", None), ("function_tool_path", None))
    },
    f"{ROLLOUT}.ignore_eos": (False, "a response ends where the model ends it: leave it false"),
    "data.val_batch_size": (None, "what failed is counted over all validation prompts: leave it null"),
    "data.train_max_samples": (-1, "each row belongs to a value; train on fewer prompts with --train-files"),
    "data.filter_overlong_prompts": (False, "each row belongs to a value; leave out long prompts with --train-files"),
}
"""What a setting has to be, and what is right for whoever wants another value."""


def refuse_unsupported(config: "DictConfig", *, validation: bool) -> None:
    """Raise UserError for the first such setting; `validation` is whether there are validation prompts."""
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
                f"trainer.{key}={format_override(trainer[key])}: there is nothing to validate on; give --val-files"
            )


def refuse_device(config: "DictConfig", *, on_cpu: bool) -> None:
    """Raise UserError where verl would look for a device that the machine does not have, or leave its GPUs idle."""
    device, here = config.trainer.device, "cpu" if on_cpu else "cuda"
    if device != here:
        there = "has no accelerator" if on_cpu else "has accelerators"
        raise UserError(f"trainer.device={format_override(device)}: this machine {there}: trainer.device={here}")


def format_override(value: Any) -> str:
    """A value as it is written in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
