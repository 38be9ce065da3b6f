"""A model small enough for many training steps: two layers, random weights, the embedded model's tokenizer."""

from pathlib import Path


def make_two_layer_model(folder: Path, *, seed: int = 0) -> Path:
    """Write it as a Hugging Face folder: 49,152 tokens, hidden size 64, heads of 32 (vLLM's smallest on a CPU)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from spo_data.embedded_model import embedded_model

    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
