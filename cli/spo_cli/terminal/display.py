"""What both commands' displays are made of: lines on stderr and, on a terminal, one progress bar below them."""

from types import TracebackType
from typing import Self, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from spo_cli.terminal.console import DataConsole
from spo_cli.terminal.messages import style_label
from spo_cli.terminal.printing import use_plain_characters
from spo_data.printable import printable


class Display:
    """A context manager that prints lines and moves a bar; the bar stops with the context."""

    def __init__(self, stream: TextIO) -> None:
        use_plain_characters(stream)
        self._console = DataConsole(stream, soft_wrap=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()

    def _print_line(self, text: str) -> None:
        self._console.print(style_label(printable(text)))

    def _start_bar(
        self, text: str, total: int, completed: int = 0, *, columns: tuple[ProgressColumn, ...] = ()
    ) -> None:
        """Start the bar; `columns` stand between the elapsed time and the text."""
        self._bar = Progress(
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(total)) + 1)),
            BarColumn(bar_width=16),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            *columns,
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            redirect_stdout=False,  # rich would print what others print, and obey the escape sequences in it
            redirect_stderr=False,
        )
        self._bar.add_task(text, total=total, completed=completed)
        self._bar.start()

    def _move_bar(self, completed: int, text: str) -> None:
        assert self._bar is not None
        (task,) = self._bar.task_ids
        self._bar.update(task, completed=completed, description=text)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
