"""The run that a command names, with a note on stderr if its manifest was lost."""

from pathlib import Path
from typing import TYPE_CHECKING

from spo_cli.terminal.messages import tell

if TYPE_CHECKING:
    from spo_data.run.existing import ExistingRun


def open_run(folder: Path) -> "ExistingRun":
    """Read a run, and say on stderr if its manifest was lost; raises UserError if the folder is not a run."""
    from spo_data.run.existing import read_run

    found = read_run(folder)
    if found.note is not None:
        tell(f"note: {found.note}")
    return found
