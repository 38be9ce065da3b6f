"""A checked table of values in memory: one row per prompt, and what the values belong to.

    values.prompt_ids, values.values, values.provenance

From any source (`spo_data.formats.load`), a `ValueTable` has the columns of a run's `values` table and has passed its
checks: ids match the messages and are unique, scores lie in [0, 1], a value is the mean of its scores. A table that
fails one is refused, naming file, column and row. It holds no unfinished prompt; `completeness` counts them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import Completeness, Provenance
from spo_data.values.schema import BATCH

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ValueTable:
    """Values of prompts, in the order of their source."""

    table: "pa.Table"
    """Columns as in `spo_data.values.schema.values_schema`; null if the source does not say."""
    source: str
    """What was loaded, as the user named it."""
    revision: str | None = None
    """The commit, for a Hub dataset."""
    provenance: Provenance | None = None
    """The policy, dataset and grader that the values belong to; None if the source does not say."""
    completeness: Completeness | None = None
    """How many of the run's prompts have a value; None if the source does not say."""
    command: str = ""
    """The command that continues the run; empty if the source is not a run folder."""
    is_outdated: bool = False
    """Whether a call of `estimate` has begun since the table was written, and has not ended."""
    note: str | None = None
    """What was done because the run's manifest was lost, for the user."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def unfinished(self) -> int:
        """The run's prompts that are known to be unfinished, and so have no row."""
        return 0 if self.completeness is None else self.completeness.unfinished

    @property
    def gap(self) -> str:
        """What the run lacks, for messages; empty if it lacks nothing, or the source does not say."""
        again, counts = f"; `{self.command}` continues the run" if self.command else "", self.completeness
        if self.is_outdated:
            return (
                f"{self.source}: the last call of `spo-data estimate` has not ended, so what it draws is not in these"
                f" values{again}"
            )
        if counts is None or not counts.unfinished:
            return ""
        return (
            f"{self.source}: {counts.unfinished:,} of the run's {counts.prompts:,} prompts are unfinished: some of"
            f" their samples are not drawn yet, so they have no value{again}"
        )

    @property
    def prompt_ids(self) -> list[str]:
        """The join key of each row."""
        return list(self.table.column("prompt_id").to_pylist())

    @property
    def values(self) -> np.ndarray:
        """The value of each row, float64, shape (n_prompts,)."""
        return np.asarray(self.table.column("value").to_numpy(), dtype=np.float64)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows as dicts, a batch in memory at a time."""
        table = self.table if columns is None else self.table.select(list(columns))
        for batch in table.to_batches(max_chunksize=BATCH):
            yield from batch.to_pylist()

    def prompts(self) -> Iterator[Prompt]:
        """The prompts, with "" for a ground truth or data source that the source does not have."""
        import json

        for row in self.rows(("messages", "ground_truth", "data_source", "extra_info")):
            yield Prompt(
                tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]),
                row["ground_truth"] or "",
                row["data_source"] or "",
                None if row["extra_info"] is None else json.loads(row["extra_info"]),
            )
