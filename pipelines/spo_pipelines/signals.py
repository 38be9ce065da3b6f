"""SIGINT and SIGTERM while samples are drawn: the first ends the stream cleanly, the second drops its last verdicts."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


class Stopping:
    """What signals have asked for."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """Draw no more samples, and grade those that are finished."""
        self.abandon = asyncio.Event()
        """Do not wait for those gradings either."""
        self.signals: list[int] = []


@contextlib.contextmanager
def stop_on_signals(stopping: Stopping, say: Callable[[], None]) -> Iterator[None]:
    """Set `stop` at the first signal and call `say`, set `abandon` at the second; `signals` has them all."""

    def note(number: int) -> None:
        stopping.signals.append(number)
        if len(stopping.signals) > 1:
            stopping.abandon.set()
            return
        stopping.stop.set()
        say()

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
