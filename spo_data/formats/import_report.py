"""What one import read and wrote, and the card of the folder.

    import_card(report, "verl's validation dump")

No timestamps: the same source gives the same card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spo_data.card.merge import merge_readme, table_configs
from spo_data.card.write import escape_markdown
from spo_data.formats.readers.draws import LeftOut
from spo_data.formats.readers.sources import SourceFiles


@dataclass(frozen=True)
class ImportReport:
    """What one import read, wrote and left out."""

    files: SourceFiles
    layout: str
    """A key of `NAMES`."""
    column: str
    """The column of the values; empty if the layout has more than one column of them."""
    folder: Path
    prompts: int
    samples: int
    """Responses in `samples/`; 0 if none are known."""
    scores: Mapping[int, int]
    """The number of prompts by number of scores."""
    ungraded: int
    """Draws without a score, excluded from values."""
    no_value: int
    """Prompts without a graded draw, which have no row."""
    unfinished: int
    """Prompts of the run behind the source that were unfinished when it was written, and are not in it."""
    repeated: int
    """Prompts whose draws come from several rows or files."""
    left_out: Mapping[str, int]
    """Rows of the source that were left out, by reason."""
    example: LeftOut | None
    """The first of these rows."""
    unknown: tuple[str, ...]
    """Columns of `values/` about which the source says nothing."""
    is_joined: bool
    """False if the source has decoded transcripts for prompts, whose ids do not join with a training dataset's."""


def import_card(imported: ImportReport, kind: str) -> str:
    """The README.md of an imported folder; `kind` is a value of `NAMES`."""
    files = imported.files
    commit = f" at commit `{escape_markdown(files.revision)}`" if files.revision else ""
    left_out = "".join(
        f"\n* {count:,} rows left out: {escape_markdown(reason)}" for reason, count in imported.left_out.items()
    )
    joined = (
        ""
        if imported.is_joined
        else "\n* the prompts are decoded transcripts: their ids do not join with those of a training dataset"
    )
    left_out += f"\n* {imported.unfinished:,} unfinished prompts of the run, not here" if imported.unfinished else ""
    column = f" from the column `{escape_markdown(imported.column)}`" if imported.column else ""
    body = f"""# Imported offline values

{kind[0].upper()}{kind[1:]}{column}, imported by spo-data from `{escape_markdown(files.source)}`{commit}.

* {imported.prompts:,} prompts with a value, {imported.samples:,} responses
* {imported.no_value:,} prompts without a graded response, {imported.ungraded:,} ungraded responses{left_out}{joined}

Columns about which the source says nothing are null.
"""
    header = {"configs": table_configs(imported.samples > 0), "tags": ["offline-values"]}
    return merge_readme(header, body, None)
