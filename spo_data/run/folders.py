"""The folder `runs/`: where a run goes if none is named, and which run is meant if it holds only one.

default_folder("Qwen3-8B", "open-r1/DAPO-Math-17k-Processed")     # runs/Qwen3-8B-DAPO-Math-17k-Processed
find_only_run("spo-train --offline-values {run}")                 # the run, or UserError with the commands
"""

import re
import shlex
from pathlib import Path, PurePosixPath

from spo_data.errors import UserError
from spo_data.run.manifest import JOURNAL, MANIFEST

RUNS = Path("runs")
_GENERATED = "reasoning-gym:"


def default_folder(model: str, dataset: str) -> Path:
    """Return the run folder of a model and a dataset, after the last parts of their names."""
    return RUNS / f"{_short(model)}-{_short(dataset)}"


def find_runs(folder: Path = RUNS) -> list[Path]:
    """Return the runs in a folder, the last changed first."""
    found = {path.parent for name in (MANIFEST, JOURNAL) for path in folder.glob(f"*/{name}")}
    return sorted(found, key=lambda run: run.stat().st_mtime, reverse=True)


def find_only_run(command: str) -> Path:
    """Return the only run in `runs/`; `command` has the place `{run}`.

    Raises UserError if there is no run or several, with the commands that name one.
    """
    runs = find_runs()
    if not runs:
        raise UserError(f"no run in {RUNS}/: name its folder, as in `{command.format(run='RUN')}`")
    if len(runs) > 1:
        commands = " or ".join(f"`{command.format(run=shlex.quote(str(run)))}`" for run in runs[:3])
        raise UserError(f"{len(runs)} runs in {RUNS}/: name the one that you mean, as in {commands}")
    return runs[0]


def _short(name: str) -> str:
    """Return the last part of a name, without what does not belong into a folder's."""
    last = PurePosixPath(name.removeprefix(_GENERATED).partition("?")[0].rstrip("/")).name
    stem = re.sub(r"\.(parquet|jsonl|json|csv)$", "", last)
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
