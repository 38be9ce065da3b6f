"""A run folder: what may be one, and what is written when samples or verdicts are new."""

import os
from pathlib import Path

from spo_data.card.write import HISTOGRAM, make_card, write_card
from spo_data.errors import UserError
from spo_data.report.charts import write_histogram_png
from spo_data.run.journal import Journal
from spo_data.run.manifest import MANIFEST, Manifest, read_manifest
from spo_data.run.parquet_tables import write_tables
from spo_data.run.summary import Summary, summarize


def check_folder(out: Path) -> None:
    """Raise UserError where the folder is something else than a run or a place for one."""
    try:
        names = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if not out.is_dir():
            os.stat(out)
            raise UserError(f"--out {out} is a file")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"--out {out} cannot be used: {error.strerror}") from error
    if read_manifest(out) is None and names - {".lock", f".{MANIFEST}.new"}:
        raise UserError(f"--out {out} is neither a run nor empty: choose another folder")


def write_results(journal: Journal, manifest: Manifest, out: Path) -> Summary:
    """Write the tables, the manifest's counts, the picture and the card from the journal.

    Raises SpoError where a user's words made the card unreadable; all else is written by then.
    """
    summary = summarize(journal, manifest)
    write_tables(journal, out, manifest.provenance)
    manifest.model_copy(update={"counts": summary.counts()}).write(out)
    write_histogram_png(summary.histogram, out / HISTOGRAM)
    write_card(out, make_card(journal, manifest, summary))
    return summary
