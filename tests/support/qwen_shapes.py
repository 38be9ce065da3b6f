"""Qwen3 models by their configuration alone: the stand-ins of the memory tests and of the table in docs/training.md."""

from typing import Any

VOCABULARY = 151_936
QWEN3 = {
    # hidden, intermediate, layers, heads, key-value heads, tied embeddings
    "Qwen3-0.6B": (1024, 3072, 28, 16, 8, True),
    "Qwen3-1.7B": (2048, 6144, 28, 16, 8, True),
    "Qwen3-4B": (2560, 9728, 36, 32, 8, True),
    "Qwen3-8B": (4096, 12288, 36, 32, 8, False),
}


def qwen3_config(name: str, layers: int | None = None, vocabulary: int = VOCABULARY) -> Any:
    """Return the transformers configuration of a model, with fewer layers or tokens if asked for."""
    from transformers import AutoConfig

    hidden, intermediate, all_layers, heads, groups, tied = QWEN3[name]
    return AutoConfig.for_model(
        "qwen3",
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers or all_layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=128,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=40_960,
    )
