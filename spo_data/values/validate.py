"""Check a `values` table before it is joined or trained on.

    check_values(table, "values/train-00000-of-00001.parquet")

Raises UserError for the first bad row, naming file, column and row. Columns of numbers are checked with Arrow and
numpy, so a million rows take seconds. The prompt ids are computed again from the messages, row by row.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from spo_data.errors import UserError
from spo_data.prompts.identity import Message, prompt_id
from spo_data.values.schema import BATCH

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("prompt", "prompt_id", "messages", "value")
TOLERANCE = 1e-9


def check_values(table: "pa.Table", file: str) -> None:
    """Check a table with the columns of `values_schema`; raises UserError for the first bad row."""
    for name in REQUIRED:
        column = table.column(name)
        if column.null_count:
            _refuse(file, name, _find_first(column.is_null()), "is missing")
    for name in ("value", "value_low", "value_high"):
        numbers = _read_numbers(table, name)
        _refuse_where(~np.isnan(numbers) & ~((numbers >= 0) & (numbers <= 1)), file, name, numbers, "is not in [0, 1]")
    if (nan := np.isnan(_read_numbers(table, "value"))).any():
        _refuse(file, "value", int(np.argmax(nan)), "is NaN")
    _check_scores(table, file)
    _check_bounds(table, file)
    _check_ids(table, file)


def check_unique(table: "pa.Table", file: str) -> None:
    """Raise UserError if a prompt occurs twice."""
    import pyarrow.compute as pc

    column = table.column("prompt_id")
    if pc.count_distinct(column, mode="all").as_py() == len(column):
        return
    seen: dict[str, int] = {}
    for row, found in enumerate(column.to_pylist()):
        if seen.setdefault(found, row) != row:
            _refuse(file, "prompt_id", row, f"repeats the prompt of row {seen[found]} ({found})")


def _check_scores(table: "pa.Table", file: str) -> None:
    import pyarrow.compute as pc

    column = table.column("vhat").combine_chunks()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    parents = np.repeat(np.arange(len(column)), lengths)
    scores = np.asarray(pc.list_flatten(column).to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = ~((scores >= 0) & (scores <= 1))
    if bad.any():
        first = int(np.argmax(bad))
        _refuse(file, "vhat", int(parents[first]), f"has the score {scores[first]}, which is not in [0, 1]")
    sums = np.bincount(parents, weights=scores, minlength=len(column))
    values, valid = _read_numbers(table, "value"), _read_numbers(table, "n_valid")
    there = lengths > 0
    means = np.divide(sums, lengths, out=np.zeros(len(column)), where=there)
    _refuse_where(there & (abs(means - values) > TOLERANCE), file, "value", values, "is not the mean of vhat")
    known = ~np.isnan(valid) & ~np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    _refuse_where(known & (valid != lengths), file, "n_valid", valid, "is not the number of scores in vhat")
    correct, failed, asked, disputed = (
        _read_numbers(table, name) for name in ("n_correct", "n_failed", "n", "n_disputed")
    )
    with np.errstate(invalid="ignore"):  # a missing count is NaN, and compares as false
        _refuse_where(correct > valid, file, "n_correct", correct, "is more than n_valid")
        _refuse_where(disputed > valid, file, "n_disputed", disputed, "is more than n_valid")
        _refuse_where(abs(valid + failed - asked) > 0, file, "n", asked, "is not the sum of n_valid and n_failed")


def _check_bounds(table: "pa.Table", file: str) -> None:
    value, low, high = (_read_numbers(table, name) for name in ("value", "value_low", "value_high"))
    with np.errstate(invalid="ignore"):  # a missing bound is NaN, and compares as false
        _refuse_where(low > high + TOLERANCE, file, "value_low", low, "is above value_high")
        _refuse_where(low > value + TOLERANCE, file, "value_low", low, "is above the value")
        _refuse_where(value > high + TOLERANCE, file, "value_high", high, "is below the value")


def _check_ids(table: "pa.Table", file: str) -> None:
    row = 0
    for batch in table.select(["prompt", "prompt_id", "messages"]).to_batches(max_chunksize=BATCH):
        for found in batch.to_pylist():
            if any(turn is None or turn["role"] is None or turn["content"] is None for turn in found["messages"]):
                _refuse(file, "messages", row, "has a turn without role or content")
            messages = [Message(turn["role"], turn["content"]) for turn in found["messages"]]
            text = next((message.content.strip() for message in messages if message.role == "user"), None)
            if text is None:
                _refuse(file, "messages", row, "has no user message")
            if prompt_id(messages) != found["prompt_id"]:
                _refuse(
                    file, "prompt_id", row, f"is {found['prompt_id']!r}, but its messages have {prompt_id(messages)}"
                )
            if text != found["prompt"]:
                _refuse(file, "prompt", row, "is not the first user message")
            row += 1


def _read_numbers(table: "pa.Table", name: str) -> np.ndarray:
    """A numeric column as float64, NaN where it is null."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def _refuse_where(bad: np.ndarray, file: str, column: str, numbers: np.ndarray, what: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        _refuse(file, column, row, f"is {numbers[row]:g}, which {what}")


def _refuse(file: str, column: str, row: int, what: str) -> None:
    raise UserError(f"{file}: column {column}, row {row}: {what}")


def _find_first(mask: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.index(mask, True).as_py())
