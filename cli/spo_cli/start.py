"""The console scripts. A Ctrl-C while a command's modules are imported is one line, never a traceback.

Only what starts within milliseconds is imported here: processes that are spawned import this module again.
"""

import contextlib
import importlib
import os
import signal
import sys

from spo_cli.terminal.messages import own_command


def spo_data() -> None:
    """Run `spo-data`."""
    _run("spo_cli.data_app")


def spo_train() -> None:
    """Run `spo-train`."""
    _run("spo_cli.train_app")


def _run(app: str) -> None:
    signal.signal(signal.SIGINT, _end_before_start)
    try:
        importlib.import_module(app).main()
    finally:  # the command has ended, and said how
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
        with contextlib.suppress(OSError):  # said before, if the disk is full
            sys.stdout.flush()


def _end_before_start(number: int, _frame: object) -> None:
    # Not an exception: an import may swallow it, or end in another error.
    # Neither `tell` nor `printable`: the import of what they use may be what is interrupted.
    words = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in own_command())
    sys.stderr.write(f"interrupted: nothing was started; to start again: {words}\n")
    sys.stderr.flush()
    os._exit(128 + number)
