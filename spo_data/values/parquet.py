"""Write and read parquet files, all of them in one way: with the checksum of every page, which a reader checks.

with parquet_writer(path, schema) as writer:
    writer.write_table(table, row_group_size=ROW_GROUP)
with open_parquet(path) as file:
    file.schema_arrow, file.iter_batches(batch_size=BATCH)
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
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
    """Open a parquet file for writing: zstd, content-defined chunks, a page index and a checksum of every page."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_content_defined_chunking=True,
        write_page_index=True,
        write_page_checksum=True,
    )


def parquet_file(source: Any) -> "pq.ParquetFile":
    """Open a path or an open file; reading a damaged page raises OSError if its writer stored checksums."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, page_checksum_verification=True)


@contextmanager
def open_parquet(path: Path, name: str | None = None, kind: str = "parquet") -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; raises UserError if it cannot be opened, or read inside the block.

    Messages name the file as `name` (default: its path) and say that it cannot be read as `kind`.
    """
    import pyarrow as pa

    try:
        # By its bytes: pyarrow takes a name for UTF-8, and one with a colon for a URL.
        with pa.OSFile(os.fsencode(path)) as source, parquet_file(source) as file:
            _refuse_twins(file.schema_arrow.names, name or str(path))
            yield file
    except (pa.ArrowException, OSError, LookupError, ValueError, OverflowError) as error:  # the last three: of values
        raise UserError(f"{name or path} cannot be read as {kind}: {first_line(error)}") from error


def _refuse_twins(names: Sequence[str], file: str) -> None:
    """Raise UserError if two columns have one name: it is unclear which is meant."""
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise UserError(f"{file} has two columns {twins[0]}: a table must not have two columns of one name")
