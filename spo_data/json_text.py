"""Read JSON that others wrote: in files, in cells of tables, and on the command line.

    read_json('{"answer": "4"}')       # {"answer": "4"}
    read_json("[" * 100_000)           # ValueError: lists and objects are nested more than 100 levels deep

`json.loads` ends in a RecursionError for text that is nested about a thousand levels deep, and whatever walks through a
value that it could just read ends in one later. No data needs a tenth of that.
"""

import json
from typing import Any

MOST_LEVELS = 100
TOO_DEEP = f"lists and objects are nested more than {MOST_LEVELS} levels deep"


def read_json(text: str | bytes, **settings: Any) -> Any:
    """Return what JSON text holds; raises ValueError if it is not JSON, or nested too deep.

    `settings` are those of `json.loads`.
    """
    try:
        value = json.loads(text, **settings)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if is_too_deep(value):
        raise ValueError(TOO_DEEP)
    return value


def is_too_deep(value: Any) -> bool:
    """Whether lists and dicts are nested deeper than `MOST_LEVELS`."""
    inner = [value]
    for _ in range(MOST_LEVELS + 1):
        holders = [each for each in inner if isinstance(each, (dict, list, tuple))]
        if not holders:
            return False
        inner = [each for holder in holders for each in (holder.values() if isinstance(holder, dict) else holder)]
    return True
