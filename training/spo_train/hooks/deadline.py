"""A time limit for steps of verl that hang instead of failing, such as a weight sync that lost its partner.

with deadline(600, "weight sync"):
    trainer.checkpoint_manager.update_weights(step)
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_STATUS = 70


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """End the process with one line if the block takes longer, since a hung call cannot be interrupted."""
    timer = threading.Timer(seconds, _end, (seconds, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(seconds: float, what: str) -> None:
    sys.stderr.write(f"spo-train: {what} did not finish in {seconds:g} s\n")
    sys.stderr.flush()
    os._exit(EXIT_STATUS)
