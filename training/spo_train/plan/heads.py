"""The attention heads of a model, which tensor and sequence parallelism divide among GPUs.

heads = read_heads(model)         # Heads(attention=32, key_value=8), or None if the configuration does not say
check_heads(config, heads)        # raises UserError for a size that does not divide them
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.keys import SEQUENCE_PARALLEL_KEY, TENSOR_PARALLEL_KEY

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.models.names import Model


@dataclass(frozen=True)
class Heads:
    """The heads of each layer's attention."""

    attention: int
    key_value: int

    @property
    def powers(self) -> int:
        """The number that a power of two must divide for vLLM and verl to divide both kinds of heads by it."""
        any_power = self.key_value & (self.key_value - 1) == 0  # each divides the key-value heads or is a multiple
        return self.attention if any_power else math.gcd(self.attention, self.key_value)

    def allow(self, size: int) -> bool:
        """Whether vLLM and verl can divide the heads among so many GPUs; GPUs may share a key-value head."""
        shared = self.key_value % size == 0 or size % self.key_value == 0
        return self.attention % size == 0 and shared


def read_heads(model: "Model") -> Heads | None:
    """Return the heads that a model's configuration names, or None."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.path, revision=model.hub_revision).get_text_config()
    attention = getattr(config, "num_attention_heads", None)
    key_value = getattr(config, "num_key_value_heads", None) or attention
    return Heads(attention, key_value) if isinstance(attention, int) and isinstance(key_value, int) else None


def check_heads(config: "DictConfig", heads: Heads | None) -> None:
    """Raise UserError if tensor or sequence parallelism would not divide the heads."""
    from omegaconf import OmegaConf

    if heads is None:
        return
    for key in (TENSOR_PARALLEL_KEY, SEQUENCE_PARALLEL_KEY):
        size = OmegaConf.select(config, key)
        if not heads.allow(size):
            fits = next(smaller for smaller in range(size, 0, -1) if size % smaller == 0 and heads.allow(smaller))
            raise UserError(
                f"{key}={size}: cannot divide the model's {heads.attention} attention heads and {heads.key_value}"
                f" key-value heads: {key}={fits} fits"
            )
