"""Whether tensor and sequence parallelism can divide the attention heads of the model to train.

heads = read_heads(model)         # Heads(attention=32, key_value=8), or None if the configuration does not say
check_heads(config, heads)        # raises UserError for a size that does not divide them
"""

from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_data.models.heads import Heads, find_heads
from spo_train.config.keys import SEQUENCE_PARALLEL_KEY, TENSOR_PARALLEL_KEY

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spo_data.models.names import Model


def read_heads(model: "Model") -> Heads | None:
    """Return the heads that a model's configuration names, or None. It is one that `load_chat` has loaded."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.path, revision=model.hub_revision, trust_remote_code=False)
    return find_heads(config.get_text_config())


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
