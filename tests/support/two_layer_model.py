"""A model small enough for many training steps: two layers, random weights, one token per character.

    make_two_layer_model(tmp_path / "model")

The vocabulary has 64 tokens, including the end token, so a response ends by itself after a few dozen tokens. Any short
string is likely enough to appear, so rewards vary even without training.
"""

import string
from pathlib import Path

CHARACTERS = string.ascii_lowercase + string.digits + " .,?!+-*/=()'\n:\\{}"
SPECIAL = ["<pad>", "<unk>", "<user>", "<assistant>", "<system>", "<end>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content | lower }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_two_layer_model(folder: Path, *, seed: int = 0) -> Path:
    """Write it as a Hugging Face folder. Its heads have size 32, the smallest that vLLM supports on a CPU."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *CHARACTERS])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters,
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>", "<system>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    ends = {"eos_token_id": vocabulary["<end>"], "pad_token_id": vocabulary["<pad>"], "bos_token_id": None}
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **ends,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    return folder
