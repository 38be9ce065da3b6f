"""`spo-data import`: make a folder like a run's from values that others estimated."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.parameters import PROMPTS, GivenOptions, takes
from spo_cli.terminal.printing import print_json
from spo_data.errors import UserError
from spo_data.options import option_of

if TYPE_CHECKING:
    from spo_data.formats.import_report import ImportReport

SYSTEM_PROMPT = "; a system prompt may have been used: the source does not say"
DUMPS = "Validation dumps"


@takes(prompts=PROMPTS.without("dataset", "revision", "limit", "shuffle_seed"))
def import_values(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE-OR-ID",
            help="JSON, parquet or jsonl file, glob, folder, or Hub id with values that others estimated.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; a new or empty one.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, if FILE-OR-ID is a Hub id.")] = None,
    value_column: Annotated[
        str | None,
        typer.Option(help="Column of pass rates, if there are several, or if its name is not pass_rate or solve_rate."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset that a validation dump was sampled from, as for estimate's --dataset.", rich_help_panel=DUMPS
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose chat template rendered the dump.", rich_help_panel=DUMPS)
    ] = None,
    prompts: GivenOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was read, written and left out as JSON.")] = False,
) -> None:
    """Import values: the SPO recipe's, verl's validation dump and training rows, A*-PO's and open-r1's datasets.

    The folder has values/, and samples/ if responses are known. Exit status: 0 if there are values, 2 for wrong input.
    """
    with clean_exit():
        if dataset is None and (stray := [name for name, value in prompts.collect().items() if value]):
            raise UserError(f"{option_of(stray[0])} says how to read --dataset, which is not given")
        training = None if dataset is None else prompts.make(dataset=dataset)

        from spo_data.formats.import_values import import_values as run_import

        imported = run_import(source, out, revision=revision, training=training, model=model, value_column=value_column)
        if as_json:
            print_json(_as_dict(imported))
        else:
            _print(imported)


def _as_dict(imported: "ImportReport") -> dict[str, object]:
    files = imported.files
    return {
        "source": files.source,
        "revision": files.revision,
        "files": len(files.files),
        "not_read": list(files.not_read),
        "layout": imported.layout,
        "column": imported.column or None,
        "folder": str(imported.folder),
        "prompts": imported.prompts,
        "samples": imported.samples,
        "scores": {str(n): count for n, count in imported.scores.items()},
        "repeated": imported.repeated,
        "ungraded": imported.ungraded,
        "no_value": imported.no_value,
        "unfinished": imported.unfinished,
        "left_out": dict(imported.left_out),
        "example": None if imported.example is None else asdict(imported.example),
        "unknown": list(imported.unknown),
        "joined": imported.is_joined,
    }


def _print(imported: "ImportReport") -> None:
    from spo_cli.terminal.printing import make_console, print_facts
    from spo_data.formats.import_values import NAMES
    from spo_data.text import excerpt

    files = imported.files
    number = "" if len(files.files) == 1 else f", {len(files.files):,} files"
    scores = ", ".join(f"{count:,} prompts have {n}" for n, count in imported.scores.items())
    facts = [
        ("source", f"{files.source}{f' at {files.revision}' if files.revision else ''}{number}"),
        ("read as", NAMES[imported.layout] + (f", from the column {imported.column}" if imported.column else "")),
        ("prompts", f"{imported.prompts:,} with a value; scores: {scores or 'none'}"),
    ]
    if imported.repeated:
        facts.append(("repeated", f"{imported.repeated:,} prompts occur more than once: their draws are merged"))
    if imported.ungraded:
        facts.append(
            ("ungraded", f"{imported.ungraded:,} draws have no score: counted in n_failed, excluded from values")
        )
    if imported.no_value:
        facts.append(("no value", f"{imported.no_value:,} prompts have no graded draw, so they have no row"))
    if imported.unfinished:
        facts.append(("unfinished", f"{imported.unfinished:,} further prompts of the run, not in the source"))
    facts += [("left out", f"{count:,} rows {reason}") for reason, count in imported.left_out.items()]
    if imported.example is not None:
        facts.append(("", f"the first: {imported.example.where} {excerpt(imported.example.text)}".rstrip()))
    if files.not_read:
        facts.append(("not read", f"{len(files.not_read):,} files of other splits: {', '.join(files.not_read[:3])}"))
    if imported.unknown:
        system = SYSTEM_PROMPT if imported.layout in ("open-r1", "pass-rate") else ""
        facts.append(("null", f"{', '.join(imported.unknown)}{system}"))
    tables = "values/" if not imported.samples else f"values/ and samples/ ({imported.samples:,} responses)"
    if imported.layout == "own" and files.revision:
        tables += "; responses stay on the Hub"
    facts.append(("written", f"{imported.folder}: {tables}"))
    out = make_console()
    print_facts(out, facts)
    if not imported.is_joined:
        again = shlex.join(["spo-data", "import", files.source, "--out", f"{imported.folder}-joined"])
        out.print(
            "\nThese prompts are decoded transcripts, and their ids will not join with those of a training dataset."
            f" To recognise the prompts, run\n  {again} --dataset TRAIN --model MODEL",
            markup=False,
            soft_wrap=True,
        )
