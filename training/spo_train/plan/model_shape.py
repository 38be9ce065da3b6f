"""A model's dimensions, counted on a model without weights.

    read_shape(model)        # ModelShape(parameters=8190735360, ...), or None if transformers cannot build the model

transformers builds the model of the configuration on torch's `meta` device, which takes no memory.
"""

import functools
from typing import TYPE_CHECKING, Any

from spo_train.config.gpu_memory import ModelShape

if TYPE_CHECKING:
    from spo_data.models.names import Model


def read_shape(model: "Model") -> ModelShape | None:
    """Return the dimensions of a model's configuration, or None if they are unknown (a model with code of its own)."""
    from transformers import AutoConfig

    return shape_of(AutoConfig.from_pretrained(model.path, revision=model.hub_revision))


def shape_of(config: Any) -> ModelShape | None:
    """Return the dimensions of a transformers configuration, or None if they are unknown."""
    import torch

    try:
        built = _build(config)
        text = config.get_text_config()
        heads, head = text.num_attention_heads, built.get_output_embeddings().weight
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        layers = [module for module in built.modules() if type(module).__name__ in (built._no_split_modules or ())]
        return ModelShape(
            parameters=sum(each.numel() for each in built.parameters()),
            layer=max(sum(each.numel() for each in layer.parameters()) for layer in layers),
            head=head.numel(),
            tied=head is built.get_input_embeddings().weight,
            layers=len(layers),
            hidden=text.hidden_size,
            intermediate=_active_width(text),
            query=heads * width,
            key_value=(getattr(text, "num_key_value_heads", None) or heads) * width,
            query_norm=any(name.endswith(".q_norm") for name, _ in built.named_modules()),
            vocabulary=head.shape[0],
            linear=sum(
                each.in_features + each.out_features
                for layer in layers
                for each in layer.modules()
                if isinstance(each, torch.nn.Linear)
            ),
        )
    except Exception:  # a model of another kind, or with code of its own: verl says what it is
        return None


@functools.cache
def count_parameters(model: "Model") -> int | None:
    """Return the parameters of a model's configuration, or None if transformers cannot build it."""
    from transformers import AutoConfig

    try:
        built = _build(AutoConfig.from_pretrained(model.path, revision=model.hub_revision))
    except Exception:  # as in `shape_of`
        return None
    return int(sum(parameter.numel() for parameter in built.parameters()))


def _build(config: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _active_width(text: Any) -> int:
    """Return the width of the feed-forward part that one token passes through, in all of its experts."""
    experts = getattr(text, "num_experts_per_tok", None)
    if experts and getattr(text, "moe_intermediate_size", None):
        return int(experts * text.moe_intermediate_size)
    return int(text.intermediate_size)
