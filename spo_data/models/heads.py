"""The attention heads of a model, which tensor and sequence parallelism divide among GPUs.

heads = find_heads(transformers_config)      # Heads(attention=32, key_value=8), or None if it does not say
heads.allow(8)                               # True
"""

import math
from dataclasses import dataclass
from typing import Any


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


def find_heads(config: Any) -> Heads | None:
    """Return the heads that a transformers configuration of a text model names, or None."""
    attention = getattr(config, "num_attention_heads", None)
    key_value = getattr(config, "num_key_value_heads", None) or attention
    return Heads(attention, key_value) if isinstance(attention, int) and isinstance(key_value, int) else None
