"""SIGINT and SIGTERM: they end a call at once if nothing would be lost, and cleanly while samples are drawn."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from spo_data.errors import Interrupted


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise Interrupted at the first signal. For work outside the stream, where nothing in memory would be lost."""

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
def stop_on_signals(stop: asyncio.Event, signals: list[int]) -> Iterator[None]:
    """Set `stop` and append to `signals` at each signal, so that the stream ends cleanly."""

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
