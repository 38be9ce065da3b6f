"""`spo-data export`: offline values in the formats that trainers read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.printing import print_json

if TYPE_CHECKING:
    from spo_data.formats.export import ExportReport

READERS = {
    "spo-json": "the SPO recipe's {prompt: [scores]}",
    "spo-hf": "a dataset with prompt and vhat, as the SPO trainer reads it",
    "verl": "verl's training rows",
    "a-star-po": "A*-PO's training rows, with responses, rewards and V*",
}


def export(
    run: Annotated[
        str, typer.Argument(help="Run folder, imported folder, file or Hub id with values.", show_default=False)
    ],
    to_format: Annotated[str, typer.Option("--format", help=f"{', '.join(READERS)}.")],
    out: Annotated[Path, typer.Option(help="File to write; for spo-hf a folder. Nothing is overwritten.")],
    n: Annotated[
        int | None,
        typer.Option(
            help="Exact number of scores per prompt (default: the run's n); not for verl.", show_default=False
        ),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="A*-PO's β in v_star (default: 0.5); only for a-star-po.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, if RUN is a Hub id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written, and what was not, as JSON.")] = False,
) -> None:
    """Write the values for a trainer. Prompts that do not fit are left out and counted. What is lost is printed.

    Exit status: 0 if something was written, 2 for wrong input or if no prompt fits.
    """
    with clean_exit():
        from spo_data.formats.export import export_values

        exported = export_values(run, to_format, out, n=n, beta=beta, revision=revision)
        if as_json:
            print_json(_as_dict(exported))
        else:
            _print(exported)
        if exported.values.note:
            tell(f"note: {exported.values.note}")
        if exported.values.gap:
            tell(f"note: {exported.values.gap}")


def _as_dict(exported: "ExportReport") -> dict[str, object]:
    values, written = exported.values, exported.written
    return {
        "values": {"source": values.source, "revision": values.revision, "prompts": len(values)},
        "format": exported.format,
        "path": str(exported.path),
        "prompts": written.prompts,
        "n": written.n,
        "cut": written.cut,
        "left_out": {reason: count for reason, count in written.left_out.items() if count},
        "no_value": 0 if values.completeness is None else values.completeness.without_value,
        "unfinished": values.unfinished,
        "lost": list(written.lost),
    }


def _print(exported: "ExportReport") -> None:
    from spo_cli.terminal.printing import make_console, print_facts

    values, written = exported.values, exported.written
    each = "" if written.n is None else f", {written.n} scores each"
    facts = [
        ("values", values.source + (f" at {values.revision}" if values.revision else "")),
        ("format", f"{exported.format}: {READERS[exported.format]}"),
        ("written", f"{exported.path}: {written.prompts:,} of {len(values):,} prompts{each}"),
        *(("left out", f"{count:,} prompts {reason}") for reason, count in written.left_out.items() if count),
    ]
    if written.cut:
        facts.append(("cut", f"{written.cut:,} prompts have more scores: their first {written.n} are written"))
    counts = values.completeness
    if counts is not None and counts.without_value:
        facts.append(("no value", f"{counts.without_value:,} further prompts of the run have no valid sample"))
    if counts is not None and counts.unfinished:
        facts.append(("unfinished", f"{counts.unfinished:,} further prompts of the run have samples still to be drawn"))
    if values.provenance is not None:
        grades = values.provenance.grader.truncated == "grade"
        facts.append(("truncated", "responses are graded as they stand" if grades else "responses score 0"))
    facts += [("lost" if position == 0 else "", sentence) for position, sentence in enumerate(written.lost)]
    print_facts(make_console(), facts)
