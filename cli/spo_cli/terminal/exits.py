"""How errors and interruptions are shown to the user, and the exit status that goes with them.

with clean_exit("nothing was changed", "start again") as command:
    report = command.run(check(options))
"""

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from spo_cli.terminal.environment import check_environment
from spo_cli.terminal.hub_retries import show_retries_plainly
from spo_cli.terminal.library_notes import show_library_notes
from spo_cli.terminal.messages import own_command, tell
from spo_data.errors import Interrupted, SpoError, reason, takes_no_data

SAY_AFTER = 0.5
"""Seconds after a Ctrl-C until a command that has not ended says so."""
WRONG_NAMES = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors for which a user has named what cannot be used, wherever it is noticed."""
NUMBERS = (signal.SIGINT, signal.SIGTERM)

Result = TypeVar("Result")


@contextmanager
def clean_exit(kept: str = "nothing was changed", again: str = "start again") -> Iterator["Interruptible"]:
    """Turn an error that a user can act on, or a SIGINT or SIGTERM, into one line on stderr and an exit status.

    `kept` and `again` are said after an interruption: what is not lost, and what the same command would do.
    All commands run in it, so the Hub's clients also speak our words in it.
    """
    show_retries_plainly()
    show_library_notes()
    command = Interruptible()
    try:
        check_environment()
        with command.raise_on_signals():
            yield command
            sys.stdout.flush()  # here, an error is one line
    except OSError as error:
        failed = error.errno == errno.EIO
        if takes_no_data(error) or failed:
            done = "read or written" if failed else "written"
            tell(f"error: {error.filename or 'the output'} cannot be {done}: {reason(error)}")
            raise typer.Exit(1) from None
        if error.filename is None:
            raise
        tell(f"error: {os.fsdecode(error.filename)} cannot be used: {reason(error)}")
        raise typer.Exit(2 if error.errno in WRONG_NAMES else 1) from None
    except SpoError as error:
        tell(f"error: {error}")
        raise typer.Exit(error.exit_status) from None
    except (Interrupted, KeyboardInterrupt) as error:
        tell_interrupted(kept, again)
        raise typer.Exit(int(str(error.code)) if isinstance(error, Interrupted) else 130) from None
    except typer.Exit:
        raise
    except Exception:
        if command.interrupted_by is None:
            raise
        tell_interrupted(kept, again)  # a module in C that is being imported makes an ImportError of it
        raise typer.Exit(128 + command.interrupted_by) from None


def tell_interrupted(kept: str, again: str) -> None:
    """Say that a signal ended the command, what is not lost, and the command that would go on."""
    tell(f"interrupted: {kept}; to {again}: {own_command()}")


class Interruptible:
    """A command that is running: its first signal interrupts it, its second ends the process."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._number: int | None = None
        late = "stopping: waiting for the current step; Ctrl-C again ends it now"
        self._late = threading.Timer(SAY_AFTER, tell, (late,))
        self._late.daemon = True

    @property
    def interrupted_by(self) -> int | None:
        """The signal that came, if any."""
        return self._number

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine, as asyncio.run does, until it ends or a signal cancels it."""

        async def run() -> Result:
            self._task = asyncio.current_task()
            return await work

        try:
            self.stop_if_interrupted()
            return asyncio.run(run())
        except asyncio.CancelledError:
            raise Interrupted(self._number or signal.SIGINT) from None
        finally:
            work.close()

    def stop_if_interrupted(self) -> None:
        """Raise Interrupted if a signal came: libraries that catch everything may have swallowed the first."""
        if self._number is not None:
            raise Interrupted(self._number)

    @contextmanager
    def raise_on_signals(self) -> Iterator["Interruptible"]:
        """Interrupt the block at the first signal. If its clean-up takes long, a line says so."""
        if threading.current_thread() is not threading.main_thread():  # only the main thread can receive signals
            yield self
            return
        before = {number: signal.signal(number, self._interrupt) for number in NUMBERS}
        try:
            yield self
        finally:
            self._late.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: object) -> None:
        for each in NUMBERS:  # a second one would raise within the clean-up of the first
            signal.signal(each, _end_now)
        self._number = number
        self._late.start()
        task = self._task
        if task is not None and not task.done() and asyncio.current_task(task.get_loop()) is not task:
            # Not raised here, in another task or in the event loop itself, which would lose or report it.
            task.get_loop().call_soon_threadsafe(task.cancel)
            return
        raise Interrupted(number)


def _end_now(number: int, _frame: object) -> None:
    tell(f"interrupted: ended before the clean-up was over; to start again: {own_command()}")
    os._exit(128 + number)
