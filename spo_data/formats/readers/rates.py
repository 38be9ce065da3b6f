"""Columns of pass rates: which column holds them, and how a rate is written.

    read_rate("6/8", "row 3: difficulty")      # (0.75, 8)
    read_rate("n/a", "row 4: pass_rate")        # (None, None)

Datasets call them `pass_rate_72b_tir`, `llama8b_solve_rate` or `solve_rate_qwen_r1_distill_7b`, and write numbers,
texts ("0.65625", "n/a"), percentages or fractions. A fraction says of how many samples it is.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.formats.readers.draws import read_score

if TYPE_CHECKING:
    import pyarrow as pa

OPTION = "--value-column"
_RATE_COLUMN = re.compile(r"(?:.*_)?(?:pass|solve|success)_?rate(?:_.*)?", re.IGNORECASE)
_NO_RATE = re.compile(r".*_(?:rewards|generations|std|stderr|var|variance|count|n)", re.IGNORECASE)
_FRACTION = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")
_UNKNOWN = {"", "n/a", "na", "nan", "none", "null", "-"}


def find_rate_column(schema: "pa.Schema", file: str, chosen: str | None) -> str | None:
    """Return the chosen column, else the only one that is named as a pass rate; None if there is none.

    Raises UserError if the chosen column does not exist, or if there are several.
    """
    if chosen is not None:
        if chosen not in schema.names:
            raise UserError(f"{OPTION} {chosen}: {file} has no such column; the columns are {', '.join(schema.names)}")
        if not _may_hold_rates(schema.field(chosen).type):
            raise UserError(f"{OPTION} {chosen}: {file} has no numbers or texts in it, but {schema.field(chosen).type}")
        return chosen
    found = [field.name for field in schema if is_rate_column(field.name) and _may_hold_rates(field.type)]
    if len(found) > 1:
        raise UserError(f"{file} has several pass rates, {', '.join(found)}: choose one with {OPTION}")
    return found[0] if found else None


def is_rate_column(name: str) -> bool:
    """Whether a column is named as a pass rate."""
    return _RATE_COLUMN.fullmatch(name) is not None and _NO_RATE.fullmatch(name) is None


def find_fractions(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str | None:
    """Return a column whose texts are all fractions such as 6/8; it may hold rates under another name."""
    for column in columns:
        texts = [row[column] for row in rows if row.get(column) not in (None, "")]
        if texts and all(isinstance(text, str) and _FRACTION.fullmatch(text.strip()) for text in texts):
            return column
    return None


def read_rate(rate: Any, where: str) -> tuple[float | None, int | None]:
    """Return a rate in [0, 1], and the number of samples behind it if it is a fraction; raises UserError otherwise."""
    if not isinstance(rate, str):
        return read_score(rate, where), None
    text = rate.strip()
    if text.lower() in _UNKNOWN:
        return None, None
    if match := _FRACTION.fullmatch(text):
        solved, n = int(match[1]), int(match[2])
        if solved > n:
            raise UserError(f"{where}: {rate!r:.80} is more than 1: a value is a success probability")
        if n == 0:
            return None, None
        return solved / n, n
    if match := _PERCENT.fullmatch(text):
        return read_score(float(match[1]) / 100, where), None
    try:
        return read_score(float(text), where), None
    except ValueError:
        raise UserError(f"{where}: {rate!r:.80} is no pass rate (0.75, 75% or 6/8)") from None


def _may_hold_rates(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(texts or pa.types.is_floating(kind) or pa.types.is_integer(kind))
