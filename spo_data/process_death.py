"""Linux's parent-death signal, with which a process ends when its parent does."""

import ctypes

_PR_SET_PDEATHSIG = 1


def request_parent_death_signal(number: int) -> None:
    """Ask Linux to send this process the signal `number` when its parent ends; call it on Linux only."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
