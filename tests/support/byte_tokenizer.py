"""A tokenizer of single bytes, with some tokens that a byte-pair encoding could have: exact accounting is easy to see.

    tokenizer = ByteTokenizer()
    tokenizer("<code>")["input_ids"]      # [60, 99, 111, 100, 101, 62]

`EOS` is special and has no text. `MERGED` are tokens of several bytes; one of them ends in the middle of a character.
"""

from collections.abc import Sequence

EOS = 256
MERGED = {257: b">\n", 258: b">\xc3", 259: b"</code>", 260: b"> ```", 261: b"</code><co"}


class ByteTokenizer:
    """What the tool loop asks of a tokenizer."""

    eos_token_id = EOS

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The bytes as text; what is no character becomes U+FFFD, as in a real tokenizer."""
        del skip_special_tokens  # EOS has no text at all
        return b"".join(MERGED.get(int(i), bytes([i]) if i < 256 else b"") for i in token_ids).decode(errors="replace")
