"""Write `report.html`: a run on one page, which opens offline in any browser.

    report = write_report(Path("runs/demo"))
    report = write_report(Path("runs/demo"), Path("runs/other"))     # compares the other run's values

Everything is counted from one snapshot of the journal, so the page of a run in progress is consistent. The page is one
file that loads nothing and runs only its own script (its content security policy holds the script's hash). It gives the
size of everything that it leaves out. The same journals and manifests give the same bytes. It is written by temp file
and rename.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_data.errors import SpoError, UserError, reason
from spo_data.files import replace_whole
from spo_data.grading.verdict import Verdict
from spo_data.printable import printable
from spo_data.report.compare import Comparison, compare
from spo_data.report.prompt_table import RESPONSE_CHARACTERS, PromptTable, Wording, find_shared_wording
from spo_data.report.statistics import VERDICTS, RunStatistics, measure_throughput, read_reported_prompts
from spo_data.run.existing import ExistingRun, read_run
from spo_data.run.journal import Journal
from spo_data.run.summary import Summary, summarize
from spo_data.text import excerpt

REPORT = "report.html"
ERRORS = 5
"""Engine errors that are listed."""
SOURCES = 20
"""Data sources that are drawn."""
SUSPECTS = 200
"""Suspect ground truths that are listed; a filter of the table of prompts shows them all."""


@dataclass(frozen=True)
class Report:
    """A written report."""

    path: Path
    size: int
    summary: Summary
    comparison: Comparison | None


def write_report(run: Path, other: Path | None = None) -> Report:
    """Write a run's report into its folder; raises UserError if a folder is not a run, or both are the same."""
    this = read_run(run)
    if other is not None and other.resolve() == run.resolve():
        raise UserError(f"--compare {other}: this is the run itself")
    compared = None if other is None else read_run(other)
    manifest, comparison = this.manifest, None
    with _open_snapshot(this) as journal:
        summary = summarize(journal, manifest)
        wording = find_shared_wording(prompt.text for prompt in journal.prompts())
        if compared is not None:
            with _open_snapshot(compared) as other_journal:
                comparison = compare(manifest, journal, compared.manifest, other_journal, wording)
        page = _render(
            manifest=manifest,
            summary=summary,
            comparison=comparison,
            other_name=None if other is None else other.resolve().name,
            **_count(journal, summary, wording, manifest.n),
        )
    path = run / REPORT
    try:
        with replace_whole(path) as fresh:
            fresh.write_bytes(page)
    except OSError as error:
        raise SpoError(f"{path} cannot be written: {reason(error)}") from error
    return Report(path, len(page), summary, comparison)


def _count(journal: Journal, summary: Summary, wording: Wording, n: int) -> dict[str, Any]:
    """What the page shows in addition to manifest, summary and comparison."""
    numbers, table = RunStatistics(), PromptTable(journal, wording)
    for prompt in read_reported_prompts(journal, n):
        numbers.add(prompt)
        if prompt.agreed is not None:
            table.keep_samples(prompt)
    table.fill(read_reported_prompts(journal, n))
    commits, sources, suspects = journal.commits(), numbers.sources(), summary.suspects[:SUSPECTS]
    named = {suspect.prompt_id for suspect in suspects}
    named |= {worst.prompt_id for worst in summary.second.worst} if summary.second else set()
    # Drawn but not valid: we failed to grade them, or the interpreter broke them off.
    ungraded = summary.drawn + summary.not_drawn + summary.not_valid - summary.asked
    return {
        "complete": summary.complete,
        "ungraded": ungraded,
        "abandoned": summary.not_valid - summary.engine_failures - ungraded,
        "errors": list(summary.errors.items())[:ERRORS],
        "verdicts": _count_verdicts(summary),
        "sources": sources,
        "drawn_sources": sources[:SOURCES],
        "lengths": numbers.length_bins(),
        "curve": numbers.bounds_curve(),
        "speed": measure_throughput(commits),
        "recorded": bool(commits),
        "suspects": suspects,
        "own": {p.prompt_id: wording.own(p.text, 160) for p in journal.prompts() if p.prompt_id in named},
        "table": table,
    }


@contextmanager
def _open_snapshot(run: ExistingRun) -> Iterator[Journal]:
    """Open a run's journal as it is now, without what is committed meanwhile."""
    with run.open_journal() as journal:
        journal.query("BEGIN")
        yield journal


def _count_verdicts(summary: Summary) -> dict[str, int]:
    """Samples by verdict for the chart: observations always, failures only if there are any."""
    counts = {str(verdict): summary.verdicts.get(verdict, 0) for verdict in Verdict}
    counts["engine_failed"] = summary.engine_failures
    return {name: count for name, count in counts.items() if count or name in VERDICTS}


def _render(*, table: PromptTable, **context: Any) -> bytes:
    import jinja2
    from markupsafe import Markup

    from spo_data.report import charts

    environment = jinja2.Environment(
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        excerpt=excerpt,
        minus=lambda text: text.replace("-", "\N{MINUS SIGN}"),
        number=lambda count: f"{count:,}",
        share=lambda count, total: f"{count / total:.1%}" if total else "none",
        shown=_show,
        value=lambda value: f"{value:.4f}",
        words=lambda name: name.replace("_", " "),
    )
    here = Path(__file__)
    template, style, script = (
        here.with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("html.jinja", "css", "js")
    )
    page = environment.from_string(template).render(
        **context,
        table=table,
        data=Markup(table.json()),
        response_characters=RESPONSE_CHARACTERS,
        charts=charts,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.encode()


def _show(value: object) -> str:
    """A setting as text."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
