"""The two files that a training run starts from, aligned row by row.

    write_training_data(data, responses, Path("runs/train/data"))      # train.parquet and values.parquet
    read_values_file(Path("runs/train/data/values.parquet"))

`train.parquet` is what verl loads. `values.parquet` is what the tracker and the memory of previous responses start
from: `prompt_id`, `score_total`, `score_count`, `response_ids` (null where no response is stored) and `response_mask`
(false for tool output; null where every token is the model's own). Both say in their metadata what the values belong
to, and the same data gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spo_data.errors import SpoError, UserError, first_line
from spo_data.files import replace_whole
from spo_data.values.parquet import ROW_GROUP, parquet_writer
from spo_train.data.first_responses import FirstResponse

if TYPE_CHECKING:
    import pyarrow as pa

    from spo_train.data.training_rows import TrainingData

TRAIN_FILE = "train.parquet"
VALUES_FILE = "values.parquet"


@dataclass(frozen=True)
class ValuesFile:
    """What is known of each training prompt before the first step, in the order of verl's rows."""

    prompt_ids: tuple[str, ...]
    totals: np.ndarray
    """Sum of the prompt's scores, float64, shape (n_prompts,)."""
    counts: np.ndarray
    """Number of scores, int64, shape (n_prompts,)."""
    responses: list[FirstResponse | None]
    """None where none is stored."""


def write_training_data(data: "TrainingData", responses: Sequence[FirstResponse | None], out: Path) -> None:
    """Write `train.parquet` and `values.parquet` into a folder, in place of those that are there.

    `responses` are `first_responses` of the data's prompt ids. Raises SpoError where the folder cannot be written.
    """
    import pyarrow as pa

    ids = data.prompt_ids
    assert len(ids) == len(responses) == len(data.rows)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / TRAIN_FILE, data.rows.schema, [data.rows])
        schema = _schema(data.rows.schema.metadata)
        groups = (
            pa.table(
                [
                    pa.array(ids[start : start + ROW_GROUP], pa.string()),
                    pa.array(data.score_totals[start : start + ROW_GROUP], pa.float64()),
                    pa.array(data.score_counts[start : start + ROW_GROUP], pa.int64()),
                    *_columns(responses[start : start + ROW_GROUP]),
                ],
                schema=schema,
            )
            for start in range(0, len(ids), ROW_GROUP)
        )
        _write(out / VALUES_FILE, schema, groups)
    except OSError as error:
        raise SpoError(f"{error.filename or out} cannot be written: {error.strerror or first_line(error)}") from error


def read_values_file(path: Path) -> ValuesFile:
    """Read a `values.parquet`; raises UserError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    prompt_ids: list[str] = []
    totals, counts = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    responses: list[FirstResponse | None] = []
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_schema(), check_metadata=False):
                raise UserError(
                    f"{path} has the columns {', '.join(file.schema_arrow.names)}, not {', '.join(_schema().names)}:"
                    " `spo-train` writes it from values"
                )
            for batch in file.iter_batches(batch_size=ROW_GROUP):
                prompt_ids += batch.column("prompt_id").to_pylist()
                totals.append(batch.column("score_total").to_numpy())
                counts.append(batch.column("score_count").to_numpy())
                responses += map(_response, batch.column("response_ids"), batch.column("response_mask"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as parquet: {first_line(error)}") from error
    return ValuesFile(tuple(prompt_ids), np.concatenate(totals), np.concatenate(counts), responses)


def _columns(responses: Sequence[FirstResponse | None]) -> "tuple[pa.Array, pa.Array]":
    import pyarrow as pa

    ids = [None if response is None else response.token_ids for response in responses]
    masks = [None if response is None else response.mask for response in responses]
    return pa.array(ids, pa.list_(pa.int32())), pa.array(masks, pa.list_(pa.bool_()))


def _response(ids: "pa.ListScalar", mask: "pa.ListScalar") -> FirstResponse | None:
    if ids.values is None:
        return None
    # Copied: a view would keep the whole batch while one response of it is remembered.
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


def _write(path: Path, schema: "pa.Schema", tables: "Iterable[pa.Table]") -> None:
    """Write a file whole or not at all: a run that is resumed may be reading it."""
    with replace_whole(path) as fresh, parquet_writer(fresh, schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP)
