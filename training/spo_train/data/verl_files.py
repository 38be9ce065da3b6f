"""The parquet files that a training run starts from.

    write_training_data(data, responses, Path("runs/train"))      # train.parquet and values.parquet, aligned by row
    write_validation_rows(rows, Path("runs/train"))               # val.parquet
    read_values_file(Path("runs/train/values.parquet"))

verl loads `train.parquet` and `val.parquet`. The tracker and the memory of previous responses start from
`values.parquet`: `prompt_id`, `score_total`, `score_count`, `response_ids` (null if no response is stored) and
`response_mask` (false for tool output; null if the model sampled every token). The metadata of all three records the
values' provenance, and the same data gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spo_data.errors import SpoError, UserError, first_line, reason
from spo_data.files import replace_whole
from spo_data.values.parquet import ROW_GROUP, open_parquet, parquet_writer
from spo_train.data.first_responses import FirstResponse
from spo_train.filenames import TRAIN_ROWS, VALIDATION_ROWS, VALUES

if TYPE_CHECKING:
    import pyarrow as pa

    from spo_train.data.training_rows import TrainingData


@dataclass(frozen=True)
class ValuesFile:
    """Each training prompt's scores and stored response before the first step, in the order of verl's rows."""

    prompt_ids: tuple[str, ...]
    totals: np.ndarray
    """Sum of the prompt's scores, float64, shape (n_prompts,)."""
    counts: np.ndarray
    """Number of scores, int64, shape (n_prompts,)."""
    responses: list[FirstResponse | None]
    """None for a prompt without a stored response."""


def write_training_data(data: "TrainingData", responses: Sequence[FirstResponse | None], out: Path) -> None:
    """Write `train.parquet` and `values.parquet` into a folder, replacing earlier ones.

    `responses` are those of `read_first_responses` for the data's prompt ids. Raises SpoError if the folder cannot be
    written.
    """
    import pyarrow as pa

    ids = data.prompt_ids
    assert len(ids) == len(responses) == len(data.rows)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / TRAIN_ROWS, data.rows.schema, [data.rows], ROW_GROUP)
        schema = _schema(data.rows.schema.metadata)
        groups = (
            pa.table(
                [
                    pa.array(ids[start : start + ROW_GROUP], pa.string()),
                    pa.array(data.score_totals[start : start + ROW_GROUP], pa.float64()),
                    pa.array(data.score_counts[start : start + ROW_GROUP], pa.int64()),
                    *_make_columns(responses[start : start + ROW_GROUP]),
                ],
                schema=schema,
            )
            for start in range(0, len(ids), ROW_GROUP)
        )
        _write(out / VALUES, schema, groups, ROW_GROUP)
    except OSError as error:
        raise SpoError(f"{error.filename or out} cannot be written: {reason(error)}") from error


def write_validation_rows(rows: "pa.Table", out: Path) -> None:
    """Write `val.parquet` into a folder, replacing an earlier one; verl validates on its rows."""
    _write(out / VALIDATION_ROWS, rows.schema, [rows])


def read_values_file(path: Path) -> ValuesFile:
    """Read a `values.parquet`; raises UserError if the file is not one."""
    prompt_ids: list[str] = []
    totals, counts = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    responses: list[FirstResponse | None] = []
    with open_parquet(path) as file:
        if not file.schema_arrow.equals(_schema(), check_metadata=False):
            raise UserError(
                f"{path} has the columns {', '.join(file.schema_arrow.names)}, not {', '.join(_schema().names)}:"
                " it must be a values.parquet that `spo-train` wrote"
            )
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            prompt_ids += batch.column("prompt_id").to_pylist()
            totals.append(batch.column("score_total").to_numpy())
            counts.append(batch.column("score_count").to_numpy())
            try:
                responses += map(_read_response, batch.column("response_ids"), batch.column("response_mask"))
            except ValueError as error:
                raise UserError(f"{path} cannot be read as parquet: {first_line(error)}") from error
    return ValuesFile(tuple(prompt_ids), np.concatenate(totals), np.concatenate(counts), responses)


def _make_columns(responses: Sequence[FirstResponse | None]) -> "tuple[pa.Array, pa.Array]":
    import pyarrow as pa

    ids = [None if response is None else response.token_ids for response in responses]
    masks = [None if response is None else response.mask for response in responses]
    return pa.array(ids, pa.list_(pa.int32())), pa.array(masks, pa.list_(pa.bool_()))


def _read_response(ids: "pa.ListScalar", mask: "pa.ListScalar") -> FirstResponse | None:
    if ids.values is None:
        return None
    # A copy, since a view would keep the whole batch in memory.
    own = None if mask.values is None else np.array(mask.values.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return FirstResponse(np.array(ids.values, dtype=np.int32), own)


def _schema(metadata: dict[bytes, bytes] | None = None) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("prompt_id", pa.string()),
            ("score_total", pa.float64()),
            ("score_count", pa.int64()),
            ("response_ids", pa.list_(pa.int32())),
            ("response_mask", pa.list_(pa.bool_())),
        ],
        metadata,
    )


def _write(path: Path, schema: "pa.Schema", tables: "Iterable[pa.Table]", row_group: int | None = None) -> None:
    """Write a file whole or not at all: a resumed training run may be reading it."""
    with replace_whole(path) as fresh, parquet_writer(fresh, schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=row_group)
