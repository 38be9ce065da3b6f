"""Lines on stderr in one style: `error: …`, `note: …`, with a coloured label on a terminal.

    tell("error: RUN is not a run folder")
    tell("note: the run folder is runs/x (--out names another)")

rich decides about colour: none if stderr is no terminal, if NO_COLOR is set, or on a dumb terminal.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

LABELS = {
    "error": "bold red",
    "incomplete": "bold yellow",
    "interrupted": "bold yellow",
    "stopping": "bold yellow",
    "note": "yellow",
}


def tell(text: str) -> None:
    """Print a line on stderr; a label that it begins with is coloured on a terminal."""
    if not text.isprintable():
        from spo_data.printable import printable  # here, because `start` imports this module before all others

        text = printable(text)
    if not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        return
    from spo_cli.terminal.console import DataConsole

    DataConsole(sys.stderr).print(style_label(text), soft_wrap=True)


def own_command() -> str:
    """Return the command line of this process, as a shell reads it, without a Hub token."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    hidden = [
        "TOKEN" if before == "--token" else "--token=TOKEN" if word.startswith("--token=") else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    return shlex.join(hidden)


def style_label(text: str) -> "Text":
    """Return a printable line for rich, with its label in colour if it begins with one."""
    from rich.text import Text

    label = text.partition(": ")[0]
    return Text.assemble((label, LABELS[label]), text[len(label) :]) if label in LABELS else Text(text)
