"""A tokenizer of single bytes and a few merged tokens, as byte-pair encoding has. Token counts are easy to check.

    tokenizer = ByteTokenizer()
    tokenizer("<code>")["input_ids"]      # [60, 99, 111, 100, 101, 62]

`EOS` is special and has no text. `MERGED` are tokens of several bytes. One of them ends in the middle of a character.
"""

from collections.abc import Sequence

EOS = 256
MERGED = {257: b">\n", 258: b">\xc3", 259: b"</code>", 260: b"> ```", 261: b"</code><co"}


class ByteTokenizer:
    """Implements what the tool loop needs of a tokenizer."""

    eos_token_id = EOS

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The bytes as text. As in a real tokenizer, invalid bytes become U+FFFD."""
        del skip_special_tokens  # EOS decodes to no text in any case
        return b"".join(MERGED.get(int(i), bytes([i]) if i < 256 else b"") for i in token_ids).decode(errors="replace")
