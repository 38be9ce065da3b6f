"""The disk that checkpoints take: bytes of one, and how many lie there at once.

size = find_checkpoint_size(config, model, steps=500)
size.each, size.most, size.disk             # 98_285_000_000, 2, 196_570_000_000
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spo_train.config.checkpoint_settings import count_kept
from spo_train.config.gpu_memory import MOMENTS
from spo_train.config.precision import width_of
from spo_train.plan.model_shape import count_parameters

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.models.names import Model


@dataclass(frozen=True)
class CheckpointSize:
    """What a training run's checkpoints take."""

    every: int
    """Steps between two checkpoints; 0 if none is saved."""
    kept: int | None
    """None for all."""
    most: int
    """The most that lie on the disk at once, the one that is being written included."""
    each: int | None
    """Bytes of verl's files of one, or None if the number of parameters is unknown; SPO's state is small beside it."""

    @property
    def disk(self) -> int | None:
        """Bytes of the most that lie on the disk at once, or None if those of one are unknown."""
        return None if self.each is None else self.most * self.each

    def describe(self) -> str:
        """Return it in a line of the plan."""
        if not self.every:
            return "none: trainer.save_freq is not positive, so an ended training run cannot be continued"
        kept = {None: "all kept", 1: "the newest kept"}.get(self.kept, f"the newest {self.kept} kept")
        said = f"every {self.every:,} steps, {kept}"
        if self.each is None or self.disk is None:
            return said
        return f"{said}: at most {show_gigabytes(self.disk)} ({self.most:,} x {show_gigabytes(self.each)})"


def find_checkpoint_size(config: "DictConfig", model: "Model", steps: int) -> CheckpointSize:
    """Return what the checkpoints of a training run of so many steps take."""
    every = max(0, int(config.trainer.save_freq))
    kept = count_kept(config)
    saved = -(-steps // every) if every else 0
    # The last one stays until the next is whole.
    most = saved if kept is None else min(saved, max(2, kept))
    parameters = count_parameters(model) if saved else None
    return CheckpointSize(every, kept, most, None if parameters is None else _bytes_of_one(config, parameters))


def _bytes_of_one(config: "DictConfig", parameters: int) -> int | None:
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    weight = width_of(actor.fsdp_config.model_dtype)
    contents = list(actor.checkpoint.save_contents)
    adapted = model.lora_rank > 0 or model.lora_adapter_path is not None  # Adam has moments of the adapter only
    if adapted and actor.checkpoint.get("save_lora_only"):  # without an adapter, verl saves the whole model
        return None
    moments = MOMENTS if "optimizer" in contents and not adapted else 0
    weights = 1 if "model" in contents else 0
    exported = 2 if "hf_model" in contents else 0  # in bfloat16
    return parameters * (weight * (weights + moments) + exported)


def show_gigabytes(number: int) -> str:
    """Return a number of bytes in GB, as disks count them."""
    gigabytes = number / 1e9
    return f"{gigabytes:,.0f} GB" if gigabytes >= 100 else f"{gigabytes:,.1f} GB"
