"""How an error is shown to the user, and the exit status that goes with it."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from spo_cli.terminal.hub_retries import show_retries_plainly
from spo_cli.terminal.messages import tell
from spo_data.errors import Interrupted, SpoError

INTERRUPTED = "interrupted: nothing that was sampled is lost; the same command continues"


@contextmanager
def clean_exit(interrupted: str = "interrupted: nothing was changed; the same command starts again") -> Iterator[None]:
    """Turn an error that a user can act on into one line on stderr and an exit status.

    All commands run in it, so the Hub's clients also speak our words in it.
    """
    show_retries_plainly()
    try:
        yield
    except SpoError as error:
        tell(f"error: {error}")
        raise typer.Exit(error.exit_status) from None
    except Interrupted as error:
        tell(interrupted)
        raise typer.Exit(int(str(error.code))) from None
    except KeyboardInterrupt:
        tell(interrupted)
        raise typer.Exit(130) from None
