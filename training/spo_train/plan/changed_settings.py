"""What a resumed training run changes of its settings: they may change, but not unseen.

list_changed_settings(out, config)        # ["trainer.spo.rho_max: 0.96 → 0.9"]
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_train.config.keys import MODEL_PATH_KEY, RAY_CPUS_KEY, RESUME_KEY, RESUME_PATH_KEY
from spo_train.filenames import CONFIG
from spo_train.literal import from_literal
from spo_train.plan.written_config import read_written_config

if TYPE_CHECKING:
    from omegaconf import DictConfig

_OF_EACH_CALL = (RESUME_KEY, RESUME_PATH_KEY, MODEL_PATH_KEY, RAY_CPUS_KEY)
"""Settings that follow from the call or the machine, or that the record compares."""
_ABSENT = "not set"


def list_changed_settings(out: Path, config: "DictConfig") -> list[str]:
    """Return each setting that differs from the configuration in a training run's folder, with both values."""
    from omegaconf import OmegaConf

    from verl_cpu.overrides import BUCKET

    if not (out / CONFIG).is_file():
        return []
    before = dict(_walk(OmegaConf.to_container(read_written_config(out))))
    now = dict(_walk(OmegaConf.to_container(config)))
    return [
        f"{key}: {before.get(key, _ABSENT)} → {now.get(key, _ABSENT)}"
        for key in dict.fromkeys((*before, *now))
        if before.get(key, _ABSENT) != now.get(key, _ABSENT) and key not in (*_OF_EACH_CALL, BUCKET)
    ]


def _walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", from_literal(value)
