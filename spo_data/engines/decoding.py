"""The text of a finished response, equal to what vLLM decodes token by token, at a fraction of its cost.

    decode = find_decoder(tokenizer)        # None if only vLLM's own way gives vLLM's text
    decode(token_ids)

vLLM decodes each token as it comes, because it looks for stop strings. A response without stop strings is decoded once,
when it is finished. Two rules make both texts equal. Special tokens have no text. A response that was cut within a
character ends before it: vLLM holds tokens back while the text ends in U+FFFD, and what it still holds at the end is no
part of the text.

This is true of byte-level tokenizers (Qwen, Llama 3, DeepSeek, SmolLM). A SentencePiece tokenizer (Llama 2, Gemma)
makes one U+FFFD of each byte of a run that is no UTF-8 as a whole, so its text depends on where a decoder cuts the run:
with those, vLLM decodes.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

Decode = Callable[[Sequence[int]], str]
"""Decodes the token ids of a response, without a token that ended it."""

_REPLACEMENT = chr(0xFFFD)
_WINDOW = 16
"""How many tokens decide whether a text ends within a character."""


def find_decoder(tokenizer: Any) -> Decode | None:
    """Return the decoder for a Hugging Face tokenizer; None if it is not a byte-level one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if getattr(backend, "decoder", None) is None:
        return None
    assert backend is not None
    special = frozenset(number for number, token in backend.get_added_tokens_decoder().items() if token.special)
    if not _is_byte_level(backend, special):
        return None

    def decode(token_ids: Sequence[int]) -> str:
        own = [token for token in token_ids if token not in special]
        while own and backend.decode(own[-_WINDOW:]).endswith(_REPLACEMENT):
            own.pop()
        return str(backend.decode(own))

    return decode


def _is_byte_level(backend: Any, special: Collection[int]) -> bool:
    steps = json.loads(backend.decoder.__getstate__())
    kinds = [step["type"] for step in steps.get("decoders", [steps])]
    if kinds == ["ByteLevel"]:
        return True
    if kinds != _CONVERTED or backend.token_to_id("<0x80>") is not None:
        return False
    from tokenizers.pre_tokenizers import ByteLevel  # type: ignore[import-untyped, unused-ignore]

    # It joins all tokens first: one character that stands for no byte would change the text of all.
    alphabet = set(ByteLevel.alphabet())
    return all(alphabet.issuperset(token) for token, number in backend.get_vocab().items() if number not in special)


_CONVERTED = ["ByteFallback", "Fuse", "Replace", "ByteLevel"]
"""How transformers decodes a byte-level tokenizer that it read from a GGUF file."""
