"""Whether the Ray cluster that RAY_ADDRESS names can be reached, asked before anything starts.

    refuse_stale_address()        # raises UserError: "RAY_ADDRESS is 10.0.0.1:6379, where nothing answers: …"

A shell often keeps the address of a cluster that has ended. Ray then tries for minutes, and says nothing meanwhile.
"""

import os
import socket

from spo_data.errors import UserError, reason

_SECONDS = 5.0
"""How long an answer may take; a machine that is gone gives none."""


def refuse_stale_address() -> None:
    """Raise UserError if RAY_ADDRESS names a host and port where nothing listens; `auto` and `local` name none."""
    address = os.environ.get("RAY_ADDRESS", "")
    if (fault := find_fault(address)) is not None:
        raise UserError(
            f"RAY_ADDRESS is {address}, where no Ray cluster answers ({fault}): unset it, or start that cluster"
        )


def find_fault(address: str) -> str | None:
    """Return why nothing answers at an address; None if something does, or if it names no host and port."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except OverflowError:
        return "there is no such port"
    except OSError as error:
        return reason(error)
    return None
