"""Write and read parquet files, all of them in one way.

with parquet_writer(path, schema) as writer:
    writer.write_table(table, row_group_size=ROW_GROUP)
with open_parquet(path) as file:
    file.schema_arrow, file.iter_batches(batch_size=BATCH)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUP = 1_000
"""Rows in a row group."""


def parquet_writer(path: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    """Open a parquet file for writing: zstd, content-defined chunks and a page index."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, compression="zstd", use_content_defined_chunking=True, write_page_index=True)


@contextmanager
def open_parquet(path: Path, name: str | None = None, kind: str = "parquet") -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; raises UserError if it cannot be opened, or read inside the block.

    Messages name the file as `name` (default: its path) and say that it cannot be read as `kind`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name or path} cannot be read as {kind}: {first_line(error)}") from error
