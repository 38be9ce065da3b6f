"""Tokens of chat templates inside a prompt's text: the model's own template would be written around another one.

find_chat_token("<|im_start|>user\\nWhat is 2 + 2?<|im_end|>")      # "<|im_start|>"
"""

import re

_CHAT_TOKEN = re.compile(
    r"<\|[A-Za-z][A-Za-z_ ]{1,40}\|>"  # <|im_start|>, <|start_header_id|>, <|user|>, <|image_pad|>
    r"|<\uff5c[^<>\uff5c]{1,40}\uff5c>"  # DeepSeek's
    r"|</?(?:start|end)_of_(?:turn|image)>|<(?:bos|eos|pad|image_soft_token)>"
    r"|\[/?INST\]|<</?SYS>>|\[gMASK\]|\[(?:SYSTEM_PROMPT|AVAILABLE_TOOLS)\]|\A\s*<s>|</s>\s*\Z"
    r"|<(?:image|video|audio)>"
)


def find_chat_token(text: str) -> str | None:
    """Return the first token of a chat template or placeholder of an image in a text; None if there is none."""
    match = _CHAT_TOKEN.search(text)
    return None if match is None else match[0].strip()
