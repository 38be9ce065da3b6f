"""`spo-data regrade`: grade a run's stored responses again, without sampling."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.commands.found_run import open_run
from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.parameters import GRADER, SKIP_CHECK, GivenOptions, takes
from spo_cli.terminal.printing import print_json

if TYPE_CHECKING:
    from spo_pipelines.regrade import RegradeOutcome


@takes(verifiers=GRADER.only("verifier", "also", "truncated"), pool=GRADER.without("verifier", "also", "truncated"))
def regrade(
    *,
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    verifiers: GivenOptions,
    skip_check: Annotated[bool, SKIP_CHECK] = False,
    pool: GivenOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print what changed as JSON.")] = False,
) -> None:
    """Grade a run's stored responses without sampling: with another verifier, or the installed version of its own.

    Earlier verdicts stay in the journal: to go back, run the same command with the earlier verifier.
    """
    with clean_exit("nothing that was graded is lost", "continue") as command:
        grader = verifiers.make(**pool.collect())

        from spo_cli.terminal.progress import EstimateDisplay
        from spo_pipelines.regrade import RegradeOptions
        from spo_pipelines.regrade import regrade as run_regrade

        open_run(run)
        with EstimateDisplay() as display:
            options = RegradeOptions(run, grader, skip_check)
            outcome = command.run(run_regrade(options, display.on_grade, display.on_stage))
        if as_json:
            print_json(outcome.as_dict())
        else:
            _print(outcome, run)
        failed = sum(count for (_, after), count in outcome.confusion.items() if not after.is_observation)
        if failed:
            tell(f"incomplete: {failed:,} samples have no verdict from {outcome.after.verifier}")
            raise typer.Exit(1)


def _print(outcome: "RegradeOutcome", run: Path) -> None:
    from spo_cli.commands.show import print_second_opinion, print_suspects
    from spo_cli.terminal.printing import add_row, make_console, make_table, print_facts
    from spo_data.grading.verdict import Verdict
    from spo_data.text import excerpt

    out = make_console()
    before, after = outcome.before, outcome.after
    graded = f"{outcome.graded:,} stored responses, none sampled"
    facts = [
        ("run", str(run)),
        ("before", str(before)),
        ("after", str(after)),
        ("graded", graded if outcome.graded else "nothing: the journal has this grader's verdicts"),
    ]
    if outcome.unparseable:
        facts.append(("no value", f"{outcome.unparseable:,} prompts whose ground truth does not verify against itself"))
    if outcome.summary.unfinished:
        facts.append(("unfinished", f"{outcome.summary.unfinished:,} prompts, which have no value yet"))
    print_facts(out, facts)
    rows = [verdict for verdict in Verdict if any(old is verdict for old, _ in outcome.confusion)]
    columns = [verdict for verdict in Verdict if any(new is verdict for _, new in outcome.confusion)]
    out.print("\nsamples by verdict: before (rows) and after (columns)", markup=False)
    confusion = make_table("", *columns, flexible=0)
    for column in confusion.columns[1:]:
        column.justify = "right"
    for old in rows:
        add_row(confusion, old, *(f"{outcome.confusion.get((old, new), 0):,}" for new in columns))
    out.print(confusion)
    out.print(
        f"\nmean value {_format_value(outcome.mean_before)} → {_format_value(outcome.mean_after)};"
        f" {outcome.rose:,} prompts rose, {outcome.fell:,} fell, {outcome.unchanged:,} stayed,"
        f" {outcome.gained:,} gained a value, {outcome.lost:,} lost theirs",
        markup=False,
    )
    if outcome.moves:
        moves = make_table("before", "after", "ground truth", "prompt")
        for move in outcome.moves:
            add_row(
                moves,
                _format_value(move.before),
                _format_value(move.after),
                excerpt(move.ground_truth, 20),
                move.prompt,
            )
        out.print(moves)
    print_suspects(out, outcome.summary)
    if outcome.summary.second is not None:
        print_second_opinion(out, outcome.summary.second, outcome.summary.verifier)


def _format_value(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
