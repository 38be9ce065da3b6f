"""The card of an imported folder: what `load_dataset` needs, and where the values came from.

    import_card(imported, "verl's validation dump")

No timestamps: the same source gives the same card.
"""

from typing import TYPE_CHECKING

from spo_data.card import table_configs
from spo_data.card_merge import merged

if TYPE_CHECKING:
    from spo_data.import_values import Imported


def import_card(imported: "Imported", kind: str) -> str:
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
    return merged(header, body, None)
