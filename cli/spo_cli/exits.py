"""What a user sees of an error, and the exit status that goes with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from spo_data.errors import SpoError


@contextmanager
def clean_exit() -> Iterator[None]:
    """Turn the errors that a user can act on into one line on stderr and an exit status."""
    try:
        yield
    except SpoError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(error.exit_status) from None
    except KeyboardInterrupt as error:
        number = getattr(error, "number", 2)
        sys.stderr.write("interrupted: nothing that was sampled is lost; the same command continues\n")
        raise typer.Exit(128 + number) from None
