"""Export offline values in the formats that trainers read.

    export_values("runs/demo", "spo-json", Path("values.json"))         the SPO recipe's {prompt: [scores]}
    export_values("runs/demo", "spo-hf", Path("values"))                a dataset with prompt and vhat, as published
    export_values("runs/demo", "verl", Path("train.parquet"))           verl's training rows
    export_values("runs/demo", "a-star-po", Path("a-star.parquet"))     verl's rows with responses, rewards and V*

An export may leave out rows but never changes one. A prompt that the format cannot hold is left out and counted by
reason, and `WriteReport.lost` lists what the format cannot hold. No existing file is overwritten, and the output
appears whole, by rename.

The trainers that read `vhat` divide its sum by a number from their own configuration, so each prompt gets exactly n
scores: the first n by sample index, or no row.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spo_data.errors import UserError
from spo_data.files import appears_whole, check_free
from spo_data.formats.load import load_values
from spo_data.formats.writers.a_star_po import BETA, write_a_star
from spo_data.formats.writers.selection import WriteReport
from spo_data.formats.writers.spo_recipe import write_dataset, write_json
from spo_data.formats.writers.verl import write_verl
from spo_data.values.table import ValueTable

FORMATS = ("spo-json", "spo-hf", "verl", "a-star-po")


@dataclass(frozen=True)
class ExportReport:
    """What one export wrote, and what it left out."""

    values: ValueTable
    format: str
    path: Path
    written: WriteReport


def export_values(
    source: str,
    format: str,  # noqa: A002 # the option's name
    out: Path,
    *,
    n: int | None = None,
    beta: float | None = None,
    revision: str | None = None,
) -> ExportReport:
    """Write the values of a run folder, file or Hub dataset to `out`.

    `n` is the number of scores that each prompt gets (default: the run's n, else what most prompts have), and `beta`
    that of A*-PO (default: `BETA`). Raises UserError if no prompt can be written.
    """
    _check_options(format, out, n, beta)
    values = load_values(source, revision)
    with appears_whole(out) as fresh:
        written = _write(values, format, fresh, n, BETA if beta is None else beta)
        if not written.prompts:
            reasons = [f"{count:,} {reason}" for reason, count in written.left_out.items() if count]
            reasons += [f"{values.unfinished:,} are unfinished"] * bool(values.unfinished)
            raise UserError(f"{source}: no prompt can be written as {format} ({', '.join(reasons)})")
    return ExportReport(values, format, out, written)


def _check_options(format: str, out: Path, n: int | None, beta: float | None) -> None:  # noqa: A002 # the option's name
    if format not in FORMATS:
        raise UserError(f"--format {format}: choose one of {', '.join(FORMATS)}")
    if n is not None and n < 1:
        raise UserError(f"--n {n}: must be at least 1")
    if n is not None and format == "verl":
        raise UserError(f"--n {n} does not apply to --format verl, which holds values but no single scores")
    if beta is not None and format != "a-star-po":
        raise UserError(f"--beta {beta:g} applies only to --format a-star-po")
    if beta is not None and not 0 < beta < float("inf"):
        raise UserError(f"--beta {beta:g}: must be above 0")
    suffix = {"spo-json": ".json", "verl": ".parquet", "a-star-po": ".parquet"}.get(format)
    if suffix is not None and out.suffix != suffix:
        raise UserError(f"--out {out}: {format} writes one file; name it {out.name}{suffix}")
    if suffix is None and out.suffix in (".json", ".parquet"):
        raise UserError(f"--out {out}: {format} writes a folder; name one, such as {out.stem}")
    check_free(out)


def _write(
    values: ValueTable,
    format: str,  # noqa: A002 # the option's name
    path: Path,
    n: int | None,
    beta: float,
) -> WriteReport:
    if format == "verl":
        return write_verl(values, path)
    scores = _choose_n(values, n)
    if format == "a-star-po":
        return write_a_star(values, path, scores, beta)
    return write_json(values, path, scores) if format == "spo-json" else write_dataset(values, path, scores)


def _choose_n(values: ValueTable, n: int | None) -> int:
    """The number of scores that each prompt gets; ties go to the smaller number, which more prompts can give."""
    import pyarrow.compute as pc

    if n is not None:
        return n
    if values.provenance is not None:
        return values.provenance.n
    counts = Counter(length for length in pc.list_value_length(values.table.column("vhat")).to_pylist() if length)
    if not counts:
        raise UserError(f"{values.source} has values but no scores: use --format verl, which holds values alone")
    return int(max(counts, key=lambda length: (counts[length], -length)))
