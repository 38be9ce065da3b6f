"""Cut text for a message or a table."""


def excerpt(text: str, length: int = 160) -> str:
    """The text on one line, cut to a length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
