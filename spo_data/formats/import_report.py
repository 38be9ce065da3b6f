"""The account of one import, and the card of the folder that it wrote.

    import_card(report, "verl's validation dump")

No timestamps: the same source gives the same card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spo_data.card.merge import merge_readme, table_configs
from spo_data.formats.readers.draws import LeftOut
from spo_data.formats.readers.sources import SourceFiles


@dataclass(frozen=True)
class ImportReport:
    """The account of one import."""

    files: SourceFiles
    layout: str
    """A key of `NAMES`."""
    folder: Path
    prompts: int
    samples: int
    """Responses in `samples/`; 0 where none are known."""
    scores: Mapping[int, int]
    """How many prompts have how many scores."""
    ungraded: int
    """Draws without a score, in no value."""
    no_value: int
    """Prompts of which no draw was graded: they have no row."""
    repeated: int
    """Prompts whose draws come from several rows or files."""
    left_out: Mapping[str, int]
    """Rows of the source that are no draw, by reason."""
    example: LeftOut | None
    """The first of them."""
    unknown: tuple[str, ...]
    """Columns of `values/` that the source says nothing of."""
    is_joined: bool
    """False where the source knows prompts as decoded transcripts, whose ids will not join."""


def import_card(imported: ImportReport, kind: str) -> str:
    """The whole README.md."""
    files = imported.files
    commit = f" at commit `{files.revision}`" if files.revision else ""
    left_out = "".join(f"\n* {count:,} rows left out: {reason}" for reason, count in imported.left_out.items())
    joined = (
        ""
        if imported.is_joined
        else "\n* the prompts are decoded transcripts: their ids do not join with those of a training dataset"
    )
    body = f"""# Imported offline values

{kind[0].upper()}{kind[1:]}, imported by spo-data from `{files.source}`{commit}.

* {imported.prompts:,} prompts with a value, {imported.samples:,} responses
* {imported.no_value:,} prompts without a graded response, {imported.ungraded:,} ungraded responses{left_out}{joined}

What the source does not say is null.
"""
    header = {"configs": table_configs(imported.samples > 0), "tags": ["offline-values"]}
    return merge_readme(header, body, None)
