"""The text of a finished response is the one that vLLM decodes token by token."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from spo_data.engines.decoding import find_decoder
from support.byte_tokenizer import ByteTokenizer

README = Path(__file__).resolve().parents[3] / "README.md"
ODD = "é中文🙂👩‍👩‍👧﷽الحساب\n\n x² ≤ √π — “quote” \ufffd"


def byte_level(text: str, added: Sequence[str] = ("<think>", "中é")) -> Any:
    """A tokenizer that was trained on a text, with special and ordinary added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [text], trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=alphabet)
    )
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in added])
    return SimpleNamespace(backend_tokenizer=tokenizer)


def responses(backend: Any, count: int) -> list[list[int]]:
    """Cut texts of several languages, random tokens, single bytes, special tokens anywhere."""
    numbers = random.Random(0)
    size = backend.get_vocab_size()
    found = map(backend.token_to_id, pre_tokenizers.ByteLevel.alphabet())
    single = [token for token in found if token is not None]
    special = [number for number, token in backend.get_added_tokens_decoder().items() if token.special]
    drawn = []
    for number in range(count):
        if number % 3 == 0:
            ids = backend.encode("".join(numbers.choices(ODD, k=numbers.randrange(1, 40)))).ids
            ids = ids[: numbers.randrange(1, len(ids) + 1)]
        else:
            ids = numbers.choices(range(size) if number % 3 == 1 else single, k=numbers.randrange(1, 40))
        for _ in range(numbers.choice((0, 0, 1, 20))):
            ids.insert(numbers.randrange(len(ids) + 1), numbers.choice(special))
        drawn.append(ids)
    return drawn


def stream(backend: Any, prompt: Sequence[int], token_ids: Sequence[int]) -> str:
    """The text as vLLM's detokenizer gets it from the `tokenizers` library."""
    decoding = decoders.DecodeStream(ids=list(prompt), skip_special_tokens=True)
    return "".join(decoding.step(backend, token) or "" for token in token_ids)


CONVERTED = decoders.Sequence(
    [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " "), decoders.ByteLevel()]
)
"""How transformers decodes a tokenizer from a GGUF file."""


@pytest.mark.parametrize("decoder", [decoders.ByteLevel(), CONVERTED], ids=["plain", "from GGUF"])
def test_a_text_decoded_at_once_is_the_text_decoded_token_by_token(decoder: Any) -> None:
    tokenizer = byte_level(README.read_text(encoding="utf-8"), added=["<think>"])
    tokenizer.backend_tokenizer.decoder = decoder
    decode, backend = find_decoder(tokenizer), tokenizer.backend_tokenizer
    assert decode is not None
    prompt = backend.encode("<|im_start|>user\nHow many?<|im_end|>\n").ids
    drawn = responses(backend, 300)
    texts = [stream(backend, prompt, ids) for ids in drawn]
    assert [decode(ids) for ids in drawn] == texts
    whole = [backend.decode(ids) for ids in drawn]
    assert sum(a != b for a, b in zip(texts, whole, strict=True)) > 25, "many end within a character"


def test_a_converted_tokenizer_with_a_token_that_stands_for_no_bytes_is_left_to_vllm() -> None:
    """It decodes all tokens as one, and that one token's character changed the text of the others."""
    tokenizer = byte_level("a")
    assert find_decoder(tokenizer) is not None
    tokenizer.backend_tokenizer.decoder = CONVERTED
    assert find_decoder(tokenizer) is None


def test_a_long_end_within_a_character_is_removed_quickly() -> None:
    tokenizer = byte_level("a")
    decode = find_decoder(tokenizer)
    assert decode is not None
    start = tokenizer.backend_tokenizer.token_to_id("ð")
    end = tokenizer.backend_tokenizer.token_to_id("<|im_end|>")
    assert decode([start] * 3_000 + [end] * 50) == ""


def test_only_byte_level_tokenizers_are_decoded_here() -> None:
    """A SentencePiece tokenizer's text of bytes that are no UTF-8 depends on where the decoder cuts them."""
    pieces = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}, "▁a": 257}
    tokenizer = Tokenizer(models.BPE(pieces, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    assert find_decoder(SimpleNamespace(backend_tokenizer=tokenizer)) is None
    ids = [66, 67, 0xE4 + 1, 0x80 + 1, 66]
    assert stream(tokenizer, [257], ids[:2]) != tokenizer.decode([257, *ids])[1:3], "why it is not"
    assert find_decoder(ByteTokenizer()) is None, "a tokenizer without a backend"


@pytest.mark.slow
def test_ten_thousand_responses_have_the_text_of_vllm_s_own_detokenizer() -> None:
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer, IncrementalDetokenizer

    from spo_data.models.names import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m").path)
    decode, backend = find_decoder(tokenizer), tokenizer.backend_tokenizer
    assert decode is not None
    prompt = tokenizer("<|im_start|>user\nHow many?<|im_end|>\n")["input_ids"]
    for number, ids in enumerate(responses(backend, 10_000)):
        is_stopped = number % 2 == 0
        request: Any = SimpleNamespace(
            request_id=f"{number}", prompt_token_ids=prompt, prompt_embeds=None, sampling_params=SamplingParams()
        )
        theirs = IncrementalDetokenizer.from_new_request(tokenizer, request)
        assert isinstance(theirs, FastIncrementalDetokenizer)
        for token in ids[:-1]:
            theirs.update([token], False)
        theirs.update(ids[-1:], is_stopped)
        assert theirs.output_token_ids == ids
        assert decode(ids[:-1] if is_stopped else ids) == theirs.get_next_output_text(True, False), ids
