"""Answers that the Hub's client cannot read: a proxy or a login page answered 200 in the Hub's place.

The client then raises whatever its code stumbles over, such as `KeyError: 'id'`.
"""

import re
import traceback

from spo_data.text import excerpt

_STUMBLES = (ValueError, TypeError, LookupError, AttributeError, RecursionError, AssertionError)
_CLIENTS = ("huggingface_hub", "fsspec")


class UnreadableAnswerError(ValueError):
    """The Hub answered without what its answer must hold."""


def is_unreadable(error: Exception) -> bool:
    """Return whether the client raised an error over an answer; what our own code raises is a bug and none."""
    from huggingface_hub.errors import FileMetadataError

    if isinstance(error, (UnreadableAnswerError, FileMetadataError)):
        return True
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [place for place, name in enumerate(modules) if name.startswith("spo_")]
    called = modules[ours[-1] + 1 :][:1] if ours else []
    return isinstance(error, _STUMBLES) and any(name.startswith(_CLIENTS) for name in called)


def describe_unreadable(error: Exception) -> str:
    """Return what to tell about an answer that cannot be read."""
    from huggingface_hub import constants

    return (
        f"what answered at {constants.ENDPOINT} did not answer as the Hub does"
        f" ({type(error).__name__}: {excerpt(str(error), 100)}): a proxy or a login page may have answered in its place"
    )


def check_commit(sha: object) -> str:
    """Return the commit that an answer names; raises UnreadableAnswerError if it names none."""
    if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise UnreadableAnswerError(f"{sha!r:.80} is no commit")
    return sha
