"""SIGINT and SIGTERM: at once where nothing would be lost, cleanly where samples are in the air."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from spo_data.errors import Interrupted


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Outside the stream a signal ends the call at once: nothing is in memory that is not on disk."""

    def raise_interrupted(number: int, _frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):  # a second one would raise within the clean-up of the first
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, raise_interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stopping_signals(stop: asyncio.Event, signals: list[int]) -> Iterator[None]:
    """In the stream the first signal stops it cleanly."""

    def note(number: int) -> None:
        signals.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, note, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
