"""`spo-data join`: which training prompts have a value."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.parameters import PROMPTS, GivenOptions, takes
from spo_cli.terminal.printing import print_json
from spo_data.errors import UserError

if TYPE_CHECKING:
    from spo_data.join.coverage import JoinReport

SHOWN = 10
"""How many missing prompts are printed; --json prints all."""

TRAINING = replace(
    PROMPTS.without("dataset", "chat_template", "chat_template_kwargs", "limit", "shuffle_seed"),
    helps={"template": "Answer instruction of training data without one (default: the values')."},
)


@takes(training=TRAINING)
def join(
    *,
    values: Annotated[str, typer.Argument(help="Run folder, parquet or JSON file, or Hub id.", show_default=False)],
    train_data: Annotated[str, typer.Argument(help="As for estimate's --dataset.", show_default=False)],
    min_coverage: Annotated[
        float, typer.Option(help="Share of training prompts that must have a value; exit status 2 below it.")
    ] = 1.0,
    values_revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of values on the Hub.", show_default=False)
    ] = None,
    training: GivenOptions,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report, with every missing prompt, as JSON.")
    ] = False,
) -> None:
    """Join training data to values: how many prompts have one, how many lack one and why.

    Exit status: 0 if the coverage is at least --min-coverage, else 2.
    """
    with clean_exit():
        if not 0 <= min_coverage <= 1:
            raise UserError(f"--min-coverage {min_coverage:g}: between 0 and 1")

        from spo_data.formats.load import load_values
        from spo_data.join.coverage import join as run_join

        loaded = load_values(values, values_revision)
        joined = run_join(loaded, training.make(dataset=train_data))
        if as_json:
            print_json(joined.as_dict())
        else:
            _print(joined)
        if loaded.note:
            tell(f"note: {loaded.note}")
        if loaded.gap:
            tell(f"note: {loaded.gap}")
        if joined.coverage < min_coverage:
            least = int(joined.coverage * 10_000) / 10_000
            advice = f"--min-coverage {least:g} accepts this" if least else "these are the values of other prompts"
            tell(
                f"error: {joined.coverage:.2%} of the training prompts have a value, below --min-coverage"
                f" {min_coverage:g}: {len(joined.missing):,} have none; {advice}"
            )
            raise typer.Exit(2)


def _print(joined: "JoinReport") -> None:
    from spo_cli.terminal.printing import add_row, make_console, make_table, print_facts
    from spo_data.text import excerpt

    out = make_console()
    by_text = ", matched by first user message: the values have no other messages" if joined.by_text else ""
    dropped = "".join(f", {count:,} dropped: {reason}" for reason, count in joined.dropped.items())
    unfinished = f", {joined.unfinished:,} further ones unfinished" if joined.unfinished else ""
    at = f" at {joined.revision}" if joined.revision else ""
    print_facts(
        out,
        [
            ("values", f"{joined.values}{at}: {joined.n_values:,} prompts{unfinished}"),
            ("training", f"{joined.training}: {joined.rows:,} rows, {joined.prompts:,} unique prompts{dropped}"),
            ("template", joined.template),
            ("with a value", f"{joined.with_value:,} of {joined.prompts:,} prompts ({joined.coverage:.2%}){by_text}"),
            ("unused", f"{joined.unused:,} values belong to no training prompt"),
        ],
    )
    if not joined.missing:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in joined.reasons.items())
    out.print(f"\nwithout a value: {len(joined.missing):,} ({reasons})", markup=False, soft_wrap=True)
    for reason in joined.reasons:
        example = next(missing for missing in joined.missing if missing.near.reason == reason)
        if example.near.detail:
            out.print(f"  {reason}: {example.near.detail} (row {example.row})", markup=False, soft_wrap=True)
    found = make_table("row", "reason", "prompt")
    for missing in joined.missing[:SHOWN]:
        add_row(found, str(missing.row), missing.near.reason, excerpt(missing.prompt, 90))
    out.print()
    out.print(found)
    if len(joined.missing) > SHOWN:
        out.print(f"… and {len(joined.missing) - SHOWN:,} more (--json prints all)", markup=False)
