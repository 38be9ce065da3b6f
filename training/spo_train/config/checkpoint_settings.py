"""Settings of checkpoints and of a training run's end, before Ray starts.

check_checkpoint_settings(config, prompts)     # raises UserError: one line, with the setting that would be right
count_kept(config)                             # how many checkpoints stay; None for all
"""

from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.keys import (
    ACTOR,
    BATCH_KEY,
    EPOCHS_KEY,
    KEEP_KEY,
    LOADED_KEY,
    RESUME_KEY,
    RESUME_PATH_KEY,
    SAVED_KEY,
    STEPS_KEY,
)
from spo_train.config.setting_kinds import is_whole
from spo_train.config.unsupported import format_override

if TYPE_CHECKING:
    from omegaconf import DictConfig

STATE = ("model", "optimizer", "extra")
"""What a training run continues from: weights, Adam's moments, and the scheduler with the generators."""
MODES = ("auto", "disable", "resume_path")


def check_checkpoint_settings(config: "DictConfig", prompts: int) -> None:
    """Raise UserError if no training run could continue from its checkpoints, or if epochs end it before its steps."""
    _check_kept(config)
    _check_contents(config)
    _check_resume(config)
    _check_epochs(config, prompts)


def count_kept(config: "DictConfig") -> int | None:
    """Return how many checkpoints stay; None for all."""
    kept = config.trainer.max_actor_ckpt_to_keep
    return None if kept is None else int(kept)


def only_validates(config: "DictConfig") -> bool:
    """Whether verl validates once and takes no step."""
    return bool(config.trainer.val_before_train and config.trainer.val_only)


def _check_kept(config: "DictConfig") -> None:
    kept = config.trainer.max_actor_ckpt_to_keep
    if kept is not None and (not is_whole(kept) or kept < 1):
        raise UserError(f"{KEEP_KEY}={format_override(kept)}: wanted a whole number, at least 1, or null to keep all")
    if config.trainer.get("remove_previous_ckpt_in_save"):
        raise UserError(f"trainer.remove_previous_ckpt_in_save=true: use {KEEP_KEY}=1")


def _check_contents(config: "DictConfig") -> None:
    from omegaconf import OmegaConf

    if config.trainer.save_freq <= 0:
        return
    for key in (SAVED_KEY, LOADED_KEY):
        given = list(OmegaConf.select(config, key) or ())
        if missing := [part for part in STATE if part not in given]:
            right = ",".join([*STATE, *(part for part in given if part not in STATE)])
            raise UserError(
                f"{key}=[{','.join(given)}]: no training run could continue from such a checkpoint, which lacks"
                f" {', '.join(missing)}: {key}=[{right}]"
            )
    if config.actor_rollout_ref.actor.checkpoint.async_save:
        raise UserError(
            f"{ACTOR}.checkpoint.async_save=true: verl would not note which checkpoint is the last whole one: leave it"
            " false"
        )


def _check_resume(config: "DictConfig") -> None:
    mode, path = config.trainer.resume_mode, config.trainer.resume_from_path
    if mode not in MODES:
        raise UserError(f"{RESUME_KEY}={format_override(mode)}: must be auto, disable or resume_path")
    if path is not None and mode != "resume_path":
        raise UserError(f"{RESUME_PATH_KEY}={path}: verl reads it with {RESUME_KEY}=resume_path only")


def _check_epochs(config: "DictConfig", prompts: int) -> None:
    steps, epochs = config.trainer.total_training_steps, config.trainer.total_epochs
    if not is_whole(epochs) or epochs < 1:
        raise UserError(f"{EPOCHS_KEY}={format_override(epochs)}: wanted a whole number, at least 1")
    batch = config.data.train_batch_size
    an_epoch = prompts // batch
    total = epochs * an_epoch
    if steps is not None and total < steps:
        raise UserError(
            f"{EPOCHS_KEY}={epochs} ends training after {total:,} step{'s' * (total != 1)}, before the {steps:,} of"
            f" {STEPS_KEY}: an epoch has {an_epoch:,} ({prompts:,} prompts, {BATCH_KEY} {batch:,});"
            f" leave out {EPOCHS_KEY}, or {STEPS_KEY}={total}"
        )
