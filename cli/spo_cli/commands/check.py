"""`spo-data check`: what is wrong with a dataset, before any GPU is rented."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.parameters import GRADER, PROMPTS, GivenOptions, takes
from spo_cli.terminal.printing import print_json
from spo_data.options import EngineOptions

if TYPE_CHECKING:
    from spo_pipelines.check import CheckReport

SHOWN = 50
"""How many offenders are printed; --json prints all."""


@takes(prompts=PROMPTS.without("dataset"), grader=GRADER.without("also", "truncated"))
def check(
    *,
    dataset: Annotated[str, typer.Argument(help="As for estimate's --dataset.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Render and measure the prompts under this model's chat template.")
    ] = None,
    model_revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Context length (default: the model's).")] = None,
    prompts: GivenOptions,
    grader: GivenOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report, with every offender, as JSON.")] = False,
) -> None:
    """Check a dataset: ground truths, contradictions, images, empty and over-long prompts, leaked answers, chat tokens.

    Exit status: 0 for a clean dataset, 2 for offenders.
    """
    with clean_exit() as command:
        prompt_options, grader_options = prompts.make(dataset=dataset), grader.make()
        EngineOptions(max_model_len=max_model_len)  # refuses what estimate refuses

        from spo_pipelines.check import CheckOptions
        from spo_pipelines.check import check as run_check

        own = ("spo-data", *sys.argv[1:])
        options = CheckOptions(prompt_options, grader_options, model, model_revision, max_model_len, own)
        report = command.run(run_check(options))
        if as_json:
            print_json(report.as_dict())
        else:
            _print(report)
        raise typer.Exit(2 if report.offenders else 0)


def _print(report: "CheckReport") -> None:
    from collections import Counter

    from spo_cli.terminal.printing import add_row, make_console, make_table, print_facts
    from spo_data.text import excerpt

    out = make_console()
    if report.preview is None:
        out.print("pass --model to preview prompts and check lengths", markup=False)
    else:
        out.print("the first prompt, as the model reads it:", markup=False)
        for line in report.preview.splitlines():
            out.print(f"  │ {line}", markup=False)
    out.print()
    at = f" at {report.revision}" if report.revision else ""
    facts = [
        (
            "dataset",
            f"{report.dataset}{at} ({report.layout} layout), template {report.template}",
        ),
        (
            "rows",
            f"{report.rows:,}: {report.prompts:,} prompts to sample, {report.duplicates:,} duplicates,"
            f" {report.left_out:,} left out; {len({offender.row for offender in report.offenders}):,} offenders",
        ),
        ("verifier", report.verifier),
    ]
    if report.repeated:
        shown = ", ".join(f"row {row} {times:,} times" for row, times in list(report.repeated.items())[:5])
        facts.insert(2, ("repeated", shown + (" …" if len(report.repeated) > 5 else "")))
    if report.longest_prompt is not None:
        facts.append(("longest", f"{report.longest_prompt:,} tokens, of a context of {report.context_length:,}"))
    print_facts(out, facts)
    if report.notes:
        out.print()
    for note in report.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if not report.offenders:
        out.print("\nclean", markup=False)
        return
    counts = Counter(offender.reason for offender in report.offenders)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    out.print(f"\n{reasons}", markup=False, soft_wrap=True)
    offenders = make_table("row", "reason", "detail", "prompt", flexible=2)
    for offender in report.offenders[:SHOWN]:
        add_row(
            offenders, str(offender.row), offender.reason, excerpt(offender.detail, 70), excerpt(offender.prompt, 50)
        )
    out.print(offenders)
    if len(report.offenders) > SHOWN:
        out.print(f"… and {len(report.offenders) - SHOWN:,} more (--json prints all)", markup=False)
