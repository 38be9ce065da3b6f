"""The configuration of a choice: preset, machine and the user's settings together.

    config = compose_choice(choice, overrides, on_cpu=False)
    choose_preset(options.preset, before, gpus=1)        # "small"

The preset's settings come first, then those of a CPU, then the user's. What follows from the result and the machine
(micro-batches, offloading, the engine's limits) is derived last, except for settings that are the user's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spo_train.config.checks import is_sound
from spo_train.config.compose import Override, compose_config
from spo_train.config.memory_settings import choose_memory_settings
from spo_train.config.preset import preset_overrides
from spo_train.config.rollout_limits import set_rollout_limits
from spo_train.config.train_choice import FEW_GPUS, SAMPLES, Choice, Preset, sizes_of
from spo_train.plan.memory_check import expect_memory

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_train.plan.record import TrainRecord


def compose_choice(choice: Choice, overrides: Sequence[Override] = (), *, on_cpu: bool) -> "DictConfig":
    """Compose the configuration of a choice: the preset's settings, a CPU's if `on_cpu`, the user's overrides."""
    asked = {override.key: override.value for override in overrides}
    sizes = sizes_of(choice, asked)
    settings = preset_overrides(choice, sizes)
    if on_cpu:
        from verl_cpu.overrides import cpu_overrides

        workers = choice.nodes * choice.gpus_per_node
        settings |= cpu_overrides(choice.model, sizes.context_length, workers, sizes.rollout_devices)
    config = compose_config(settings, overrides)
    if not on_cpu and is_sound(config):
        set_rollout_limits(config, asked)
        if choice.machine is not None:
            choose_memory_settings(config, choice.machine, asked)
    return config


def choose_preset(asked: Preset | None, before: "TrainRecord | None", gpus: int) -> Preset:
    """Return the preset: the one asked for, that of the training run in the folder, or the machine's; 0 is a CPU."""
    if asked is not None:
        return asked
    if before is not None and before.preset is not None:
        return before.preset
    if gpus == 0:
        return "demo"
    # Training runs without a record of their preset are older than the preset for few GPUs.
    return "small" if gpus <= FEW_GPUS and before is None else "paper"


def note_preset(preset: Preset, gpus: int) -> str:
    """Return why a preset was chosen that has not the paper's sizes, or what those mean for few GPUs."""
    if preset == "paper":
        return (
            f"--preset paper: a step of {SAMPLES['paper']:,} responses takes hours with {gpus}"
            f" GPU{'' if gpus == 1 else 's'}; --preset small has {SAMPLES['small']:,}"
        )
    return (
        f"--preset {preset}: {SAMPLES[preset]:,} responses a step, because a step of the paper's {SAMPLES['paper']:,}"
        f" would take hours with {gpus} GPU{'' if gpus == 1 else 's'} (--preset paper)"
    )


def note_memory(config: "DictConfig", choice: Choice) -> list[str]:
    """Return a remark if an update may run out of memory, or if that is unknown; only for GPUs."""
    if choice.machine is None:
        return [
            f"the memory of an update is unknown: {choice.model}'s configuration does not say all of its dimensions"
        ]
    warning = expect_memory(config, choice.machine).warning() if is_sound(config) else None
    return [] if warning is None else [warning]
