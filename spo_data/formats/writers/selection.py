"""Select the prompts that a format can hold, and count the others.

table, left_out = keep(values.table, {"have no ground truth": mask})
WriteReport(len(table), 8, 0, left_out, ("bounds, responses",))
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class WriteReport:
    """What was written in a format, and what was not."""

    prompts: int
    n: int | None
    """Scores that each prompt has; None if the format holds none."""
    cut: int
    """Prompts that had more scores."""
    left_out: Mapping[str, int]
    """Prompts that have no row, by reason."""
    lost: tuple[str, ...]
    """What the format cannot hold, and notes for whoever reads the file; one sentence each."""


def keep(table: "pa.Table", reasons: "Mapping[str, pa.ChunkedArray]") -> "tuple[pa.Table, dict[str, int]]":
    """The rows matching no exclusion reason, and the number excluded by each; a row counts for its first reason."""
    stays = np.ones(len(table), dtype=bool)
    left_out = {}
    for reason, mask in reasons.items():
        against = np.asarray(mask.to_numpy(), dtype=bool)
        left_out[reason] = int((stays & against).sum())
        stays &= ~against
    return table.filter(stays), left_out
