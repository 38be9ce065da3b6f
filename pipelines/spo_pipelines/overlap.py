"""How many prompts published values and a run have in common.

ours = read_own_prompts(journal, run)
overlap = count_overlap({"3f2a…", "91bc…"}, ours)
str(overlap)        # "2 in common, 23 new, 0 gone"
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from spo_data.run.journal_queries import JournalQueries
from spo_data.run.parquet_tables import choose_own_files


@dataclass(frozen=True)
class OwnPrompts:
    """The prompt ids of a run."""

    with_value: frozenset[str]
    without_value: frozenset[str] = frozenset()
    """Those that are unfinished or have no valid sample."""


@dataclass(frozen=True)
class Overlap:
    """The prompts of published values, and those of a run."""

    common: int
    """Prompts that have a value on both sides."""
    without_value: int
    """Prompts of the published values that the run also has, but without a value."""
    new: int
    """Prompts whose value is only here."""
    gone: int
    """Prompts of the published values that the run does not have."""

    def __bool__(self) -> bool:
        return self.common + self.without_value > 0

    def __str__(self) -> str:
        lost = f", {self.without_value:,} without a value here" if self.without_value else ""
        return f"{self.common:,} in common{lost}, {self.new:,} new, {self.gone:,} gone"


def read_own_prompts(journal: JournalQueries, run: Path) -> OwnPrompts:
    """The prompts of the run's journal, and which of them its table of values has."""
    import pyarrow.parquet as pq

    files = choose_own_files(sorted(map(str, (run / "values").glob("*.parquet"))))
    found = pq.read_table(files, columns=["prompt_id"], page_checksum_verification=True)["prompt_id"].to_pylist()
    with_value = frozenset(found)
    every = {prompt_id for (prompt_id,) in journal.rows("SELECT prompt_id FROM prompts")}
    return OwnPrompts(with_value, frozenset(every - with_value))


def count_overlap(theirs: AbstractSet[str], ours: OwnPrompts) -> Overlap:
    """Count the prompts of published values by where else they are."""
    common, without_value = len(theirs & ours.with_value), len(theirs & ours.without_value)
    return Overlap(common, without_value, len(ours.with_value) - common, len(theirs) - common - without_value)
