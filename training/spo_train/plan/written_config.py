"""The configuration in a training run's folder, which a user may have damaged.

read_written_config(out).data.train_batch_size
count_written_steps(out, prompts=17_917)
last_written_step(out)                             # the last one that was taken
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import UserError, first_line
from spo_data.json_text import read_json
from spo_train.filenames import CONFIG, METRICS

if TYPE_CHECKING:
    from omegaconf import DictConfig


def read_written_config(out: Path) -> "DictConfig":
    """Return the configuration in a training run's folder; raises UserError if it is none."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        config = OmegaConf.load(out / CONFIG)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{out / CONFIG} cannot be read as verl's configuration: {first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{out / CONFIG} is not verl's configuration")
    return config


def count_written_steps(out: Path, prompts: int) -> int:
    """Return the steps that the configuration in a training run's folder asks for; raises UserError if it is none."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        return count_steps(read_written_config(out), prompts)
    except (OmegaConfBaseException, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{out / CONFIG} does not say how many steps to train: {first_line(error)}") from error


def count_steps(config: "DictConfig", prompts: int) -> int:
    """Return the number of training steps that a configuration asks for, with so many training prompts."""
    an_epoch = prompts // int(config.data.train_batch_size)
    return int(config.trainer.total_training_steps or an_epoch * config.trainer.total_epochs)


def last_written_step(out: Path) -> int:
    """Return the last step in the metrics of a training run's folder, those of its last call with a step; else 0."""
    path = out / METRICS
    calls = [each for each in out.glob(f"{path.stem}.*{path.suffix}") if each.suffixes[0][1:].isdecimal()]
    calls.sort(key=lambda each: int(each.suffixes[0][1:]), reverse=True)
    for metrics in (path, *calls):
        lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
        for line in reversed(lines):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return int(read_json(line)["step"])
    return 0
