"""The files that are written into a run folder when it has new samples or verdicts."""

from pathlib import Path

from spo_data.card.write import HISTOGRAM, make_card, write_card
from spo_data.report.charts import write_histogram_png
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest
from spo_data.run.parquet_tables import write_tables
from spo_data.run.summary import Summary, summarize


def write_results(journal: Journal, manifest: Manifest, out: Path) -> Summary:
    """Write the tables, the manifest's counts, the picture and the card from the journal.

    Raises SpoError if the user's own text makes the card unreadable; everything else is written by then.
    """
    summary = summarize(journal, manifest)
    write_tables(journal, out, manifest.provenance, summary.completeness)
    write_manifest(journal, manifest.model_copy(update={"counts": summary.counts()}), out, counted=True)
    write_histogram_png(summary.histogram, out / HISTOGRAM)
    write_card(out, make_card(journal, manifest, summary))
    return summary


def write_manifest(journal: Journal, manifest: Manifest, out: Path, *, counted: bool = False) -> None:
    """Write `run.json`, then its copy in the journal, unless that is open for reading.

    It is `counted` if the tables are written, and the manifest counts the journal as it is.
    """
    manifest.write(out)
    if not journal.read_only:
        journal.keep_manifest(manifest.text, counted=counted)
