"""`spo-data list`: the runs and trainings in a folder."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spo_cli.commands.found_run import open_run
from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.messages import tell
from spo_cli.terminal.printing import print_json
from spo_data.run.folders import RUNS, find_runs

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Listed:
    """One folder of the list."""

    folder: str
    kind: str
    """`run`, or the method of a training."""
    model: str
    source: str
    """A run's dataset, or a training's values or training files."""
    done: str
    """Valid samples of those asked for, or steps of those planned."""
    unfinished: int | None
    """A run's prompts with samples that are not drawn yet, which are not in the mean; None for a training."""
    mean: float | None
    """A run's mean value, or the mean reward of a training's last step."""
    changed: str
    """When the folder's record was last written, in local time."""
    regrade: str | None = None
    """The command that grades a run with the installed version of its verifier, if another one graded it."""


def list_runs(
    folder: Annotated[Path, typer.Argument(help="Folder of runs and trainings.")] = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the runs and trainings in a folder: model, dataset, how complete they are, mean value, when."""
    with clean_exit():
        from spo_data.errors import UserError

        if not folder.is_dir() and folder != RUNS:
            raise UserError(f"{folder} is not a folder")
        listed = [*_read_runs(folder), *_read_trainings(folder)]
        if as_json:
            print_json([asdict(each) for each in listed])
        elif listed:
            _print(listed)
        else:
            print(f"no run or training in {folder}")


def _read_runs(folder: Path) -> "Iterable[Listed]":
    """The runs in a folder; one that cannot be read is told of on stderr, and does not hide the others."""
    from spo_data.errors import SpoError, first_line

    for run in find_runs(folder):
        try:
            yield _read_run(run)
        except SpoError as error:
            tell(f"note: not listed: {first_line(error)}")


def _read_run(run: Path) -> Listed:
    from spo_data.run.manifest import JOURNAL, MANIFEST
    from spo_data.run.summary import summarize
    from spo_pipelines.grader_version import find_other_version

    found = open_run(run)
    with found.open_journal() as journal:
        summary = summarize(journal, found.manifest)
    valid = summary.asked - summary.not_valid - summary.not_drawn
    done = f"{valid:,} of {summary.asked:,} samples"
    if summary.unfinished:
        done += f", {summary.unfinished:,} of {summary.prompts:,} prompts unfinished"
    if summary.dropped:
        done += f", {sum(summary.dropped.values()):,} rows dropped"
    other = find_other_version(found)
    return Listed(
        *(str(run), "run", summary.model, summary.dataset, done, summary.unfinished, summary.value_mean),
        changed=_when(record if (record := run / MANIFEST).is_file() else run / JOURNAL),
        regrade=None if other is None else other.command,
    )


def _read_trainings(folder: Path) -> "Iterable[Listed]":
    from spo_train.filenames import CONFIG, METRICS, RECORD
    from spo_train.launch.steps import MetricsFile
    from spo_train.plan.record import read_record
    from spo_train.plan.written_config import count_written_steps

    found = [path for path in folder.glob(f"*/{RECORD}") if path.is_file()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        record = read_record(path.parent)
        assert record is not None
        steps = MetricsFile(path.parent / METRICS).new_steps()
        taken = f"{steps[-1].step if steps else 0:,}"
        if (path.parent / CONFIG).is_file():  # written after the record
            taken += f" of {count_written_steps(path.parent, record.prompts):,}"
        yield Listed(
            str(path.parent),
            record.method,
            record.model,
            record.values.source if record.values else "training files",
            f"{taken} steps",
            None,
            steps[-1].reward if steps else None,
            _when(path),
        )


def _print(listed: list[Listed]) -> None:
    from spo_cli.terminal.printing import add_row, make_console, make_table

    table = make_table("folder", "kind", "model", "from", "done", "mean", "changed", flexible=4)
    for each in listed:
        mean = "-" if each.mean is None else f"{each.mean:.4f}"
        add_row(table, each.folder, each.kind, each.model, each.source, each.done, mean, each.changed)
    console = make_console()
    console.print(table)
    if again := sum(each.regrade is not None for each in listed):
        console.print(
            f"\ngraded by another version of the verifier than the installed one: {again:,} of these"
            " (`spo-data show RUN` names the command that grades a run again)",
            markup=False,
            soft_wrap=True,
        )


def _when(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(sep=" ", timespec="minutes")
