"""Which prompts a format took, and which it could not.

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
    """What a format took of the values."""

    prompts: int
    n: int | None
    """Scores that each prompt has; None where the format holds none."""
    cut: int
    """Prompts that had more."""
    left_out: Mapping[str, int]
    """Prompts that have no row, by reason."""
    lost: tuple[str, ...]
    """What the format has no place for, and what else a reader should know; one sentence each."""


def keep(table: "pa.Table", reasons: "Mapping[str, pa.ChunkedArray]") -> "tuple[pa.Table, dict[str, int]]":
    """The rows that no reason speaks against, and how many each of the others left out; the first reason counts."""
    stays = np.ones(len(table), dtype=bool)
    left_out = {}
    for reason, mask in reasons.items():
        against = np.asarray(mask.to_numpy(), dtype=bool)
        left_out[reason] = int((stays & against).sum())
        stays &= ~against
    return table.filter(stays), left_out
