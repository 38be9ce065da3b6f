"""How results are printed on stdout."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 160
"""Columns where stdout is no terminal: what is piped into grep should not be wrapped at 80."""


def console() -> "Console":
    """A console on stdout."""
    from rich.console import Console

    found = Console(highlight=False, emoji=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PIPED_WIDTH
    return found


def facts(console: "Console", named: Iterable[tuple[str, str]]) -> None:
    """Print names with what they are."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, text in named:
        grid.add_row(name, Text(text))
    console.print(grid)


def table(*names: str, flexible: int = 1) -> "Table":
    """A table without lines. Cells are cut, not wrapped: those of the last `flexible` columns, where it gets narrow."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, name in enumerate(names):
        made.add_column(name, no_wrap=position < len(names) - flexible, overflow="ellipsis")
    return made


def add_row(table: "Table", *cells: str) -> None:
    """Add a row of plain text: no cell is markup."""
    from rich.text import Text

    table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
