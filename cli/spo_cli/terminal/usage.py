"""Typer's own errors, such as an unknown option, in the style of all others: one line, exit status 2.

app = typer.Typer(cls=Group)
app.command(cls=Command)(train)
"""

import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from spo_cli.terminal.messages import tell

_UsageError: Any = typer.BadParameter.__base__  # typer exports neither under a name of its own
_ClickException: Any = _UsageError.__base__


class Group(TyperGroup):
    """A group of commands whose usage errors are one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        """Parse, run, and exit."""
        return _run(super().main, *args, standalone_mode=standalone_mode, **more)


class Command(TyperCommand):
    """A single command whose usage errors are one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **more: Any) -> Any:
        """Parse, run, and exit."""
        return _run(super().main, *args, standalone_mode=standalone_mode, **more)


def _run(main: Callable[..., Any], *args: Any, standalone_mode: bool, **more: Any) -> Any:
    if not standalone_mode:
        return main(*args, standalone_mode=False, **more)
    try:
        status = main(*args, standalone_mode=False, **more)
    except _ClickException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # the help is on the screen already
            tell(f"error: {_describe(error)}")
        sys.exit(error.exit_code)
    sys.exit(status or 0)


def _describe(error: Any) -> str:
    # pydantic, which Typer asks whether a word is among a choice's, begins with the kind of error.
    message = " ".join(str(error.format_message()).split()).rstrip(".").replace(": Value error, ", ": ")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} (see {context.command_path} --help)"
