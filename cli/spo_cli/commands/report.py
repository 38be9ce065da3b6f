"""`spo-data report`: write a run as one page that opens offline."""

from pathlib import Path
from typing import Annotated

import typer

from spo_cli.terminal.exits import clean_exit


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    compare: Annotated[
        Path | None,
        typer.Option(help="Another run folder: show how its values differ from this run's.", show_default=False),
    ] = None,
) -> None:
    """Write RUN/report.html: values, verdicts, bounds, speed, and every prompt with its samples, on one page.

    The page is one file that opens offline; an incomplete run's page says what is missing.
    """
    with clean_exit():
        from spo_data.report.page import write_report

        written = write_report(run, compare)
        summary = written.summary
        mean = "no value yet" if summary.value_mean is None else f"mean value {summary.value_mean:.4f}"
        facts = [f"{summary.prompts:,} prompts", mean, "complete" if summary.complete else "incomplete"]
        if summary.unfinished:
            facts.append(f"{summary.unfinished:,} prompts unfinished")
        if written.comparison is not None:
            facts.append(f"{written.comparison.compared:,} prompts compared")
        print(written.path)
        print(f"{written.size / 1e6:.1f} MB: {', '.join(facts)}")
