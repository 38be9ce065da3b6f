"""The command that a user gives next, made from the one that was given.

set_in_command("spo-train --resume a=1 b=2", {"a": 3}, without=("b",))     # spo-train --resume a=3
suggest_resuming("spo-train --out runs/train", checkpoints)                # spo-train --out runs/train --resume
"""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path

from spo_train.checkpoints import read_latest
from spo_train.config.keys import RESUME_KEY, RESUME_PATH_KEY


def set_in_command(command: str, settings: Mapping[str, object], without: Collection[str] = ()) -> str:
    """Return a command with these settings of verl in place of its own for the same keys, and without some keys."""
    left_out = {*settings, *without}
    words = [word for word in shlex.split(command) if word.partition("=")[0].lstrip("+") not in left_out]
    return shlex.join([*words, *(f"{key}={value}" for key, value in settings.items())])


def suggest_resuming(command: str, checkpoints: Path) -> str:
    """Return the command that continues from the last checkpoint, or from the one it names if there is none."""
    words = shlex.split(command)
    if "--resume" not in words:
        words.append("--resume")
    again = shlex.join(words)
    return again if read_latest(checkpoints) is None else set_in_command(again, {}, (RESUME_KEY, RESUME_PATH_KEY))
