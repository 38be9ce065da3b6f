"""JSON that a dataset stores as text: messages, structs or lists in a string column, as csv and many exports do.

read_stored('{"ground_truth": "4"}')      # {"ground_truth": "4"}
read_stored("[1, 2]")                     # [1, 2]
read_stored("x + 1")                      # "x + 1"
"""

import ast
from typing import Any

from spo_data.json_text import is_too_deep, read_json

MOST_LITERAL = 20_000
"""A Python literal of more characters is not read: `ast` needs much memory for it."""


def read_stored(value: Any) -> Any:
    """Return the list or object that a text holds as JSON, or as Python prints it; any other value as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return value
    try:
        return read_json(text)
    except ValueError:
        return value if len(text) > MOST_LITERAL else _read_literal(text, value)


def _read_literal(text: str, otherwise: str) -> Any:
    """Return what `str` made of a list or dict, as pandas and csv writers do: it has single quotes and None."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return otherwise
    return found if isinstance(found, (list, dict)) and not is_too_deep(found) else otherwise
