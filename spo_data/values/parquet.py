"""How parquet files are written and read: one way for every table."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


ROW_GROUP = 1_000


def parquet_writer(path: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    """How every parquet file of ours is written."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, compression="zstd", use_content_defined_chunking=True, write_page_index=True)
