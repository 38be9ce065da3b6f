"""The errors that a user sees as one line. Everything else is a bug and keeps its traceback."""

import errno
import time
from email.utils import parsedate_to_datetime


class SpoError(Exception):
    """Something failed that the user can act on; the message is one clear line (exit status 1)."""

    exit_status = 1


class UserError(SpoError):
    """Wrong input: nothing was started, and the message names what is wrong and what would be right (exit status 2)."""

    exit_status = 2


class Interrupted(SystemExit):
    """SIGINT or SIGTERM when nothing has to be saved first; exits with 128 + the signal's number.

    Not a KeyboardInterrupt: vLLM swallows that one while its engine starts, then waits for an engine that has ended.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message, or its type if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
}


def takes_no_data(error: OSError) -> bool:
    """Whether a disk refused to be written to, whatever was written."""
    return error.errno in _NO_ROOM


def reason(error: OSError) -> str:
    """Why the system refused, in a few words."""
    return _NO_ROOM.get(error.errno or 0) or error.strerror or first_line(error)


def retry_after(error: BaseException) -> float | None:
    """The seconds to wait according to the response's `Retry-After` header; None if it has none."""
    response = getattr(error, "response", None)
    asked = None if response is None else response.headers.get("Retry-After")
    if asked is None:
        return None
    if asked.strip().isdigit():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None
