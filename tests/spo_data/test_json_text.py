"""JSON that others wrote: whatever its nesting, it is read or refused, and never ends in a RecursionError."""

import pytest

from spo_data.json_text import MOST_LEVELS, is_too_deep, read_json
from spo_data.prompts.stored_json import read_stored


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def test_as_many_levels_as_are_allowed_are_read() -> None:
    assert read_json('{"a": [1, {"b": null}]}', parse_int=str) == {"a": ["1", {"b": None}]}
    assert not is_too_deep(read_json(nested(MOST_LEVELS)))


@pytest.mark.parametrize(
    "text", [nested(MOST_LEVELS + 1), nested(900), nested(100_000), '{"a": ' * 900 + "1" + "}" * 900]
)
def test_more_are_refused_whether_or_not_python_reads_them(text: str) -> None:
    """`json.loads` reads 900 levels, and the first function that walked through them ended in a traceback."""
    with pytest.raises(ValueError, match="nested more than 100 levels deep"):
        read_json(text)
    assert read_stored(text) == text


def test_a_python_literal_in_a_cell_is_no_deeper() -> None:
    text = "[" * 150 + "'a'" + "]" * 150
    assert read_stored(text) == text
    assert read_stored("['a']") == ["a"]
