r"""How results are printed on stdout, and what is printed where a character cannot be encoded.

prepare_streams()                    # on a latin-1 terminal: → is ->, █ is #, 中 is \u4e2d; nowhere a raw ESC
"""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from spo_data.printable import printable, printable_json, protect_streams

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 160
"""Columns if stdout is not a terminal: output that is piped into grep should not be wrapped at 80."""

PLAIN = {"█": "#", "│": "|", "…": "...", "→": "->", "·": "|", "≠": "!=", "β": "beta"}
"""What stands for a character that we print if the terminal cannot show it; a table's bars keep their width."""


def prepare_streams() -> None:
    """Print nothing on stdout and stderr that they cannot encode, or that a terminal would obey instead of showing."""
    use_plain_characters(sys.stdout, sys.stderr)
    protect_streams()


def use_plain_characters(*streams: TextIO) -> None:
    """Print PLAIN's text, and an escape for all other characters, where a stream's encoding has no such character."""
    codecs.register_error("spo-plain", _replace)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spo-plain")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    cut = error.object[error.start : error.end]
    escape = ((PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode()) for each in cut)
    return "".join(escape), error.end


def make_console() -> "Console":
    """Return a console on stdout."""
    from spo_cli.terminal.console import DataConsole

    console = DataConsole(sys.stdout)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def print_json(document: object) -> None:
    """Print one JSON document, in ASCII if stdout cannot encode its text."""
    text = printable_json(json.dumps(document, indent=2, ensure_ascii=False, default=str))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = printable_json(json.dumps(document, indent=2, default=str))
    print(text)


def print_facts(console: "Console", facts: Iterable[tuple[str, str]]) -> None:
    """Print label and value rows."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for label, value in facts:
        grid.add_row(label, Text(_on_one_line(value)))
    console.print(grid)


def make_table(*names: str, flexible: int = 1) -> "Table":
    """Return a table without lines. If it gets narrow, cells of the last `flexible` columns are cut, not wrapped."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, name in enumerate(names):
        table.add_column(name, no_wrap=position < len(names) - flexible, overflow="ellipsis")
    return table


def add_row(table: "Table", *cells: str) -> None:
    """Add a row of plain text: no cell is markup."""
    from rich.text import Text

    table.add_row(*(Text(_on_one_line(cell), no_wrap=True, overflow="ellipsis") for cell in cells))


def _on_one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")
