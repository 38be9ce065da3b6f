"""`spo-data report`: write a run as one page that opens offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.commands.found_run import open_run
from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.printing import print_json

if TYPE_CHECKING:
    from spo_data.report.page import Report


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    compare: Annotated[
        Path | None,
        typer.Option(help="Another run folder: show how its values differ from this run's.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path and the comparison as JSON.")] = False,
) -> None:
    """Write RUN/report.html: values, verdicts, bounds, speed, and every prompt with its samples, on one page.

    The page is one file that opens offline; an incomplete run's page says what is missing.
    """
    with clean_exit():
        from spo_data.report.page import write_report

        for each in filter(None, (run, compare)):
            open_run(each)
        written = write_report(run, compare)
        if as_json:
            print_json(_as_dict(written))
            return
        summary = written.summary
        mean = "no value yet"
        if summary.value_mean is not None:
            mean = f"mean value {summary.value_mean:.4f} of {summary.prompts_with_value:,} prompts"
        facts = [f"{summary.prompts:,} prompts", mean, "complete" if summary.complete else "incomplete"]
        if summary.unfinished:
            facts.append(f"{summary.unfinished:,} prompts unfinished")
        if written.comparison is not None:
            facts.append(f"{written.comparison.compared:,} prompts compared")
        print(written.path)
        print(f"{written.size / 1e6:.1f} MB: {', '.join(facts)}")


def _as_dict(written: "Report") -> dict[str, object]:
    summary, compared = written.summary, written.comparison
    comparison = None
    if compared is not None:
        rose, fell, same = compared.directions
        comparison = {
            "compared": compared.compared,
            "only_this": compared.only_this,
            "only_other": compared.only_other,
            "other_ground_truth": compared.other_truth,
            "without_value": compared.without_value,
            "means": compared.means,
            "rose": rose,
            "fell": fell,
            "unchanged": same,
            "differences": compared.differences,
        }
    return {
        "path": str(written.path),
        "bytes": written.size,
        "complete": summary.complete,
        "prompts": summary.prompts,
        "unfinished": summary.unfinished,
        "prompts_with_value": summary.prompts_with_value,
        "value_mean": summary.value_mean,
        "value_low": summary.value_low,
        "value_high": summary.value_high,
        "comparison": comparison,
    }
