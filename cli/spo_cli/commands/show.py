"""`spo-data show`: print a run's summary."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.commands.found_run import open_run
from spo_cli.terminal.config_file import print_config
from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.printing import print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from spo_data.run.disputes import SecondOpinion
    from spo_data.run.summary import Example, Summary, Suspect
    from spo_pipelines.grader_version import OtherVersion

BAR_WIDTH = 40
SHOWN = 10
"""How many suspect ground truths are printed."""


def show(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    as_config: Annotated[
        bool, typer.Option("--config", help="Print the run's options as a file for `estimate --config`.")
    ] = False,
) -> None:
    """Show a run: verdicts, values, bounds, speed, the hardest and the easiest prompts."""
    with clean_exit():
        from spo_data.run.summary import summarize
        from spo_pipelines.grader_version import find_other_version

        found = open_run(run)
        if as_config:
            print_config(found.manifest.command, context)
            return
        with found.open_journal() as journal:
            summary = summarize(journal, found.manifest)
        other = find_other_version(found)
        if as_json:
            print_json({**summary.as_dict(), "regrade": None if other is None else asdict(other)})
        else:
            print_summary(summary, run, other)


def print_summary(summary: "Summary", run: Path, other: "OtherVersion | None" = None) -> None:
    """Print a summary on stdout; `other` is the installed version of a grader that is not the run's."""
    from rich.table import Table

    from spo_cli.terminal.printing import make_console, print_facts

    console = make_console()
    facts = _describe(summary, run)
    print_facts(console, facts if other is None else [*facts, ("regrade", str(other))])
    if summary.second is not None:
        print_second_opinion(console, summary.second, summary.verifier)
    if summary.value_mean is None:
        return
    console.print(f"\nvalues, to the nearest k/{summary.n}", markup=False)
    largest = max(summary.histogram)
    values = Table.grid(padding=(0, 2))
    for k, count in enumerate(summary.histogram):
        values.add_row(f"{k}/{summary.n}", f"{count:>7,}", "█" * -(-BAR_WIDTH * count // largest))
    console.print(values)
    for title, examples in (("hardest", summary.hardest), ("easiest", summary.easiest)):
        console.print(f"\n{title}", markup=False)
        console.print(_make_examples(examples))
    print_suspects(console, summary)


def print_suspects(console: "Console", summary: "Summary") -> None:
    """Print the prompts whose samples agree on another answer than the ground truth, if there are any."""
    if summary.suspects:
        _print_suspect_table(console, summary.suspects)
    if summary.few_answers:
        console.print(
            f"\n{summary.few_answers:,} {'more ' * bool(summary.suspects)}prompts agree on another answer, but few"
            " answers are possible (a letter, yes or no): wrong ones agree by chance",
            markup=False,
            soft_wrap=True,
        )


def _print_suspect_table(console: "Console", suspects: "list[Suspect]") -> None:
    from spo_cli.terminal.printing import add_row, make_table
    from spo_data.text import excerpt

    console.print("\nsuspect ground truths: all answers agree on another answer", markup=False)
    found = make_table("ground truth", "answer of all", "samples", "prompt id", "prompt")
    for suspect in suspects[:SHOWN]:
        add_row(
            found,
            excerpt(suspect.ground_truth, 20),
            excerpt(suspect.answer, 20),
            f"{suspect.samples} of {suspect.valid}",
            suspect.prompt_id,
            suspect.prompt,
        )
    console.print(found)
    if len(suspects) > SHOWN:
        console.print(
            f"… and {len(suspects) - SHOWN:,} more: rows of values/ with a suspect_gold, or --json", markup=False
        )


def print_second_opinion(console: "Console", second: "SecondOpinion", verifier: str) -> None:
    """Print where a second verifier disagrees with the run's."""
    from spo_cli.terminal.printing import add_row, make_table
    from spo_data.text import excerpt

    share = f" ({second.disagree / second.compared:.1%})" if second.compared else ""
    mean = "" if second.value_mean is None else f"; its mean value is {second.value_mean:.4f}"
    console.print(
        f"\nsecond opinion: {second.verifier} disagrees with {verifier} on {second.disagree:,} of {second.compared:,}"
        f" samples{share}{mean}",
        markup=False,
    )
    for pair, count in second.pairs.items():
        console.print(f"  {count:>7,}  {pair}", markup=False)
    if second.kinds:
        console.print(f"\ndisputed samples, in {second.prompts:,} prompts", markup=False)
        kinds = make_table("samples", "first higher", "second higher", "kind")
        for kind in second.kinds:
            counts = (kind.samples, kind.first_higher, kind.samples - kind.first_higher)
            add_row(kinds, *(f"{count:,}" for count in counts), kind.kind)
        console.print(kinds)
    if second.worst:
        found = make_table("samples", "ground truth", "first reads", "second reads", "prompt")
        for worst in second.worst:
            answers = (excerpt(answer or "no answer", 20) for answer in (worst.first_answer, worst.second_answer))
            add_row(found, str(worst.samples), excerpt(worst.ground_truth, 20), *answers, worst.prompt)
        console.print(found)


def _describe(summary: "Summary", run: Path) -> list[tuple[str, str]]:
    from spo_data.run.manifest import describe_kv_cache

    verdicts = ", ".join(f"{name} {count:,} ({count / summary.drawn:.1%})" for name, count in summary.verdicts.items())
    dropped = "".join(f", {count:,} dropped: {reason}" for reason, count in summary.dropped.items()) or ", none dropped"
    facts = [
        ("run", f"{run} ({'complete' if summary.complete else 'incomplete'})"),
        ("model", summary.model),
        ("dataset", f"{summary.dataset}: {summary.rows:,} rows, {summary.duplicates:,} duplicates{dropped}"),
        ("samples", f"{summary.prompts:,} prompts x {summary.n}: {summary.drawn:,} of {summary.asked:,} drawn"),
        ("verifier", summary.verifier),
        ("verdicts", verdicts or "none yet"),
    ]
    if summary.compared_as_text:
        facts.append(
            (
                "as text",
                f"{summary.compared_as_text:,} samples could only be compared as text and differ from the ground truth",
            )
        )
    if summary.unfinished:
        facts.append(
            (
                "unfinished",
                f"{summary.unfinished:,} of {summary.prompts:,} prompts, which have no value yet: {summary.not_drawn:,}"
                " samples are not drawn (short responses end first, so the verdicts lean towards them)",
            )
        )
    if summary.not_valid:
        facts.append(
            (
                "not valid",
                f"{summary.not_valid:,} samples; {summary.prompts_without_value:,} prompts without a valid sample have"
                " no value",
            )
        )
    for what, errors in (("engine error", summary.errors), ("tool error", summary.tool_errors)):
        facts += [(what, f"{count:,} x {error}") for error, count in list(errors.items())[:3]]
    if summary.prompts:
        facts.append(("mean value", _describe_mean(summary)))
    if summary.response_tokens_mean is not None:
        facts.append(
            ("tokens", f"{summary.response_tokens:,} in responses, {summary.response_tokens_mean:,.1f} per response")
        )
    if summary.tool_turns_mean is not None:
        facts.append(("tools", f"{summary.tools}: {summary.tool_turns_mean:,.2f} programs in each response"))
    if summary.samples_per_second is not None:
        facts.append(
            ("speed", f"{summary.samples_per_second:,.2f} samples/s, {summary.tokens_per_second:,.0f} tokens/s")
        )
    if summary.kv_use_mean is not None:
        preempted = summary.preemptions or 0, summary.preempted_tokens or 0
        facts.append(("KV cache", describe_kv_cache(summary.kv_use_mean, *preempted)))
    return facts


def _describe_mean(summary: "Summary") -> str:
    bounds = f"{summary.value_low:.4f} to {summary.value_high:.4f}"
    if not summary.unfinished:
        mean = "none" if summary.value_mean is None else f"{summary.value_mean:.4f}"
        return f"{mean}, bounds {bounds} (truncated and failed samples counted wrong / right)"
    known, whole = summary.prompts_with_value, f"bounds of all {summary.prompts:,}: {bounds}"
    mean = "none yet" if summary.value_mean is None else f"{summary.value_mean:.4f} of {known:,} prompts"
    return f"{mean}; {whole} (truncated, failed and undrawn samples counted wrong / right)"


def _make_examples(examples: "list[Example]") -> "Table":
    from rich.table import Column, Table

    from spo_data.text import excerpt

    table = Table.grid(Column(), Column(), Column(no_wrap=True), padding=(0, 2))
    for example in examples:
        table.add_row(f"{example.value:.3f}", example.prompt, f"→ {excerpt(example.ground_truth, 20)}")
    return table
