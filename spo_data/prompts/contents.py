"""What a message or a row contains: texts, content parts, and images, which a text policy cannot see.

read_content([{"type": "text", "text": "What is 2 + 2?"}])      # "What is 2 + 2?"
find_media({"images": ["1.png"], "problem": "<image>Find x."}, "<image>Find x.")      # "has_image"
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from spo_data.prompts.identity import Message
from spo_data.prompts.rows import BadRowError
from spo_data.prompts.stored_json import read_stored

_KINDS = ("image", "video", "audio")
_MEDIA_COLUMN = re.compile(
    r"(?:.*_)?(image|img|picture|figure|photo|video|audio)s?(?:_?\d+|_(?:preview|paths?|urls?|bytes|data))?",
    re.IGNORECASE,
)
_MEDIA_TEXT = re.compile(
    r"data:(?:image|video|audio)/|https?://|[A-Za-z0-9+/=\n]{400,}$"
    r"|[^\n]+\.(?:png|jpe?g|gif|webp|bmp|svg|tiff?|mp4|webm|wav|mp3|flac)$",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"<(image|video|audio)(?:[ _]?\d+)?>", re.IGNORECASE)


def read_messages(value: Any) -> tuple[Message, ...] | None:
    """Return the messages of a column's value, also if it is JSON text; None if it holds none.

    The text parts of a content are joined by line breaks, as vLLM does for templates that take text. Raises
    BadRowError, such as `has_image`, if a part is no text.
    """
    value = read_stored(value)
    if not is_messages(value):
        return None
    return tuple(Message(turn["role"], read_content(turn["content"]) or "") for turn in value)


def is_messages(value: Any) -> bool:
    """Whether a value is a non-empty list of turns with a role and a content."""
    value = read_stored(value)
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(
            isinstance(turn, Mapping)
            and isinstance(turn.get("role"), str)
            and (isinstance(turn.get("content"), str) or _is_parts(turn.get("content")))
            for turn in value
        )
    )


def read_content(content: Any) -> str | None:
    """Return the text of a content, which is text or a list of parts; None if it is neither."""
    if isinstance(content, str):
        return content
    if not _is_parts(content):
        return None
    return "\n".join(_read_part(part) for part in content)


def refuse_media(row: Mapping[str, Any], text: str) -> None:
    """Raise BadRowError, such as `has_image`, if a column of the row holds an image; `text` is the row's prompt.

    An empty column is no image: datasets with both kinds of rows have one. A value that does not look like an image,
    such as a number, counts only if the prompt says `<image>`. A prompt that says so without a column for it has lost
    its image.
    """
    placeholder = _PLACEHOLDER.search(text)
    for column, value in row.items():
        kind = _media_kind(column)
        if kind is None:
            is_media = isinstance(value, Mapping) and set(value) == {"bytes", "path"} and any(value.values())
        else:
            is_media = _looks_like_media(read_stored(value)) or bool(placeholder and value)
        if is_media:
            raise BadRowError(f"has_{kind or 'image'}", f"in the column {column}; the policy reads text only")
    if placeholder and placeholder[1].lower() == "image":  # <video> and <audio> may be a question about HTML
        raise BadRowError("has_image", f"the prompt says {placeholder[0]}; the policy reads text only")


@lru_cache(maxsize=1024)
def _media_kind(column: str) -> str | None:
    match = _MEDIA_COLUMN.fullmatch(column)
    if match is None:
        return None
    return match[1].lower() if match[1].lower() in _KINDS else "image"


def _looks_like_media(value: Any) -> bool:
    if value is None or isinstance(value, (bool, int, float)):
        return False
    if isinstance(value, str):
        return _MEDIA_TEXT.match(value.strip()) is not None
    if isinstance(value, (list, tuple)):
        return any(map(_looks_like_media, value))
    if isinstance(value, Mapping):
        return any(value.get(key) for key in ("bytes", "path")) or any(map(_looks_like_media, value.values()))
    return not isinstance(value, bytes) or bool(value)  # an image that was decoded


def _is_parts(content: Any) -> bool:
    return (
        isinstance(content, (list, tuple))
        and len(content) > 0
        and all(isinstance(part, str) or (isinstance(part, Mapping) and "role" not in part) for part in content)
        and any(isinstance(part, Mapping) and ("type" in part or "text" in part) for part in content)
    )


def _read_part(part: str | Mapping[str, Any]) -> str:
    if isinstance(part, str):
        return part
    written, named = part.get("text"), str(part.get("type") or "text")
    if named.endswith("text") and isinstance(written, str):
        return written
    for kind in _KINDS:
        if kind in named or any(part.get(key) for key in (kind, f"{kind}_url", f"input_{kind}")):
            raise BadRowError(f"has_{kind}", f"a message has a part of the type {named}")
    raise BadRowError("bad_messages", f"a message has a part of the type {named}")
