"""Write what SPO's reference code reads: `{prompt: [scores]}` as JSON, or a dataset with `prompt` and `vhat`.

    write_json(load_values("runs/demo"), Path("values.json"), n=8)
    write_dataset(load_values("runs/demo"), Path("values"), n=8)

The JSON is byte for byte what the recipe's `merge_offline_values.py` writes. The trainer reads the dataset with
`{item["prompt"]: item["vhat"] for item in load_dataset(FOLDER)["train"]}`. Both identify a prompt only by its first
user message, so prompts that share one are left out.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.formats.writers.selection import WriteReport, keep
from spo_data.values.parquet import ROW_GROUP, parquet_writer
from spo_data.values.schema import BATCH, make_metadata
from spo_data.values.table import ValueTable

if TYPE_CHECKING:
    import pyarrow as pa

DATA_FILE = "data/train-00000-of-00001.parquet"


def write_json(values: ValueTable, path: Path, n: int) -> WriteReport:
    """Write `{prompt: [scores]}`."""
    table, written = _select(values, n, "the policy that the values belong to")
    scores = {
        row["prompt"]: row["vhat"] for batch in table.to_batches(max_chunksize=BATCH) for row in batch.to_pylist()
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(scores, file, indent=2)
    return written


def write_dataset(values: ValueTable, folder: Path, n: int) -> WriteReport:
    """Write a folder that `load_dataset` reads; the file's metadata holds what the values belong to."""
    table, written = _select(values, n)
    provenance = values.provenance and values.provenance.model_copy(update={"n": n})
    schema = table.schema.with_metadata(make_metadata(provenance, values.completeness))
    file = folder / DATA_FILE
    file.parent.mkdir(parents=True)
    with parquet_writer(file, schema) as writer:
        writer.write_table(table.cast(schema), row_group_size=ROW_GROUP)
    return written


def _select(values: ValueTable, n: int, *more_lost: str) -> "tuple[pa.Table, WriteReport]":
    import pyarrow as pa
    import pyarrow.compute as pc

    table = values.table
    texts = table.column("prompt")
    counted = texts.value_counts()
    shared = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    lengths = pc.fill_null(pc.list_value_length(table.column("vhat")), 0)
    table, left_out = keep(
        table,
        {
            "share their first user message with another prompt": pc.is_in(texts, value_set=shared),
            "have no scores, only a value": pc.equal(lengths, 0),
            f"have fewer than {n} scores": pc.less(lengths, n),
        },
    )
    lost = [
        ", ".join(
            [
                *more_lost,
                "prompt ids, ground truths, data sources, bounds, counts of truncated and failed samples, responses",
            ]
        )
    ]
    turns = pc.sum(pc.greater(pc.list_value_length(table.column("messages")), 1)).as_py() or 0
    if turns:
        lost.append(
            f"the system prompt or further turns of {turns:,} prompts: readers know a prompt by its first user"
            " message alone, and an import gives these prompts other ids"
        )
    cut = pc.sum(pc.greater(pc.list_value_length(table.column("vhat")), n)).as_py() or 0
    scores = table.column("vhat")
    first = pa.table({"prompt": table.column("prompt"), "vhat": pc.list_slice(scores, 0, n).cast(scores.type)})
    return first, WriteReport(len(first), n, cut, left_out, tuple(lost))
