"""Values as verl's training rows, for the trainer and for `spo-data export` alike."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_data.json_text import read_json
from spo_data.values.schema import BATCH, make_metadata
from spo_data.values.table import ValueTable

if TYPE_CHECKING:
    import pyarrow as pa

MATH_VERIFIERS = ("math-verify", "math-verify-plain", "dapo")
"""Verifiers whose prompts get verl's ability "math"."""
NO_GROUND_TRUTH = "have no ground truth"
"""Why a prompt cannot be a training row."""
OURS = ("prompt_id", "value", "n_valid")
"""The fields of `extra_info` that only our export writes."""


def make_verl_rows(table: "pa.Table", values: ValueTable, split: str = "train") -> "tuple[pa.Table, list[str]]":
    """verl's columns for rows of a values table, and notes on what does not fit into them."""
    import pyarrow as pa

    is_math = values.provenance is not None and values.provenance.grader.verifier in MATH_VERIFIERS
    sources = table.column("data_source")
    extra_info, notes = _make_extra_info(table, split)
    rules = pa.repeat(pa.scalar("rule"), len(table))
    columns = {
        "data_source": sources,
        "prompt": table.column("messages"),
        "ability": pa.repeat(pa.scalar("math"), len(table)) if is_math else sources,
        "reward_model": _make_struct({"style": rules, "ground_truth": table.column("ground_truth")}),
        "extra_info": extra_info,
    }
    if sources.null_count:
        notes.append(f"{sources.null_count:,} prompts have no data source, by which verl chooses its reward functions")
    return pa.table(columns).replace_schema_metadata(make_metadata(values.provenance, values.completeness)), notes


def without_ours(extra_info: Mapping[str, Any], prompt_id: str) -> dict[str, Any]:
    """A prompt's `extra_info` without the fields of an earlier export, whose value may be another policy's."""
    ours = OURS if extra_info.get("prompt_id") == prompt_id else ()
    return {name: value for name, value in extra_info.items() if name not in ours}


def _make_extra_info(table: "pa.Table", split: str) -> "tuple[pa.ChunkedArray, list[str]]":
    import pyarrow as pa

    rows: dict[str, int] = {}
    for batch in _read_originals(table):
        for original in batch:
            for name in original:
                rows[name] = rows.get(name, 0) + 1
    ours = {
        "index": pa.array(range(len(table)), pa.int64()),
        "split": pa.repeat(pa.scalar(split), len(table)),
        **{name: table.column(name) for name in OURS},
    }
    # All of `OURS` or none: an import would take the dataset's own `value` beside our prompt id for ours.
    foreign = rows.keys() | (OURS if rows.keys() & OURS else ())
    notes, fields = [], {name: column for name, column in ours.items() if name not in foreign}
    if clash := [name for name in ours if name in rows]:
        others = [name for name in ours if name in foreign and name not in rows]
        notes.append(
            f"extra_info keeps the dataset's own {', '.join(clash)}, not ours"
            + (f"; also not written: {', '.join(others)}" if others else "")
        )
    if partial := [name for name, count in rows.items() if count < len(table)]:
        notes.append(f"extra_info lacks {', '.join(partial)} in some prompts: null there")
    for name in rows:
        try:
            fields[name] = _to_one_type(table, name)
        except (pa.ArrowException, OverflowError):
            notes.append(f"extra_info.{name} does not fit one column type: written as JSON text")
            fields[name] = pa.chunked_array(
                [
                    [json.dumps(original[name]) if name in original else None for original in batch]
                    for batch in _read_originals(table)
                ],
                pa.string(),
            )
    return _make_struct(fields), notes


def _read_originals(table: "pa.Table") -> Iterator[list[dict[str, Any]]]:
    """The `extra_info` of each prompt without our fields, a batch at a time; raises UserError if one is no object."""
    for batch in table.select(["prompt_id", "extra_info"]).to_batches(max_chunksize=BATCH):
        originals = []
        for row in batch.to_pylist():
            try:
                original = {} if row["extra_info"] is None else read_json(row["extra_info"])
            except ValueError:
                original = None
            if not isinstance(original, dict):
                raise UserError(f"column extra_info of prompt {row['prompt_id']} is not a JSON object")
            originals.append(without_ours(original, row["prompt_id"]))
        yield originals


def _to_one_type(table: "pa.Table", name: str) -> "pa.ChunkedArray":
    """One field of all rows in one type that holds them all; raises Arrow's error if there is none."""
    import pyarrow as pa

    parts = [pa.table({name: [original.get(name) for original in batch]}) for batch in _read_originals(table)]
    column = pa.concat_tables(parts, promote_options="permissive").column(name)
    if _has_empty_struct(column.type):
        raise pa.ArrowNotImplementedError("parquet cannot hold a struct without fields")
    return column


def _has_empty_struct(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    children = [kind.field(position).type for position in range(kind.num_fields)]
    return (pa.types.is_struct(kind) and not children) or any(map(_has_empty_struct, children))


def _make_struct(columns: "Mapping[str, pa.Array | pa.ChunkedArray]") -> "pa.ChunkedArray":
    import pyarrow as pa

    table = pa.table(dict(columns))
    chunks = [pa.StructArray.from_arrays(batch.columns, fields=list(table.schema)) for batch in table.to_batches()]
    return pa.chunked_array(chunks, pa.struct(list(table.schema)))
