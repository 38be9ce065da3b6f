"""What the Hub's client raises, as one line with the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from spo_data.errors import SpoError, UserError, first_line, retry_after

PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""Answers that may be another one next time; 409 and 412 say that somebody else's commit came first."""


@contextmanager
def clear_hub_errors(subject: str, *, absent: str, revision: str | None) -> Iterator[None]:
    """Raise UserError for what goes wrong on the Hub; `subject` is what the user asked for, `absent` what it is not."""
    import httpx
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{subject}: {absent}, nor a Hub id ({first_line(error)})") from error
    except GatedRepoError as error:
        raise UserError(f"{subject} is gated: accept its terms on its page, then `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{subject} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{subject}: {absent}, and not on the Hub (a private one wants `hf auth login`)") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{subject}: {absent}, not in the cache, and HF_HUB_OFFLINE is set") from error
        raise UserError(
            f"{subject}: {absent}, and the Hub at {constants.ENDPOINT} did not answer ({first_line(error)})"
        ) from error


class UploadError(SpoError):
    """A file did not reach the Hub; it may at the next try."""


def passes(error: BaseException) -> bool:
    """Whether what the Hub's client raised may be over at the next try."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return isinstance(error, (httpx.TransportError, LocalEntryNotFoundError, UploadError))


@contextmanager
def clear_push_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Raise SpoError, in one line with the fix, for what goes wrong while something is pushed."""
    import httpx
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = f"the Hub at {constants.ENDPOINT}"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise SpoError(f"{repo_id} cannot be pushed: HF_HUB_OFFLINE is set; unset it") from error
    except GatedRepoError as error:
        raise SpoError(f"{repo_id} is gated: accept its terms on its page, then push again") from error
    except RevisionNotFoundError as error:
        raise SpoError(
            f"{repo_id} has no branch {revision!r}: `hf repos branch create {repo_id} {revision} --type dataset`"
            " makes it"
        ) from error
    except RepositoryNotFoundError as error:
        raise SpoError(
            f"{repo_id} is not there for this token: check the name, or log in as somebody who can see it"
            " (`hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        status, said = error.response.status_code, error.server_message or first_line(error)
        if status == 401:
            raise SpoError(f"{hub} refuses the token ({said}): `hf auth login`, HF_TOKEN or --token") from error
        if status == 403:
            raise SpoError(
                f"this token may not write to {repo_id} ({said}): take one with write access (`hf auth login`), or"
                " propose the change with --create-pr"
            ) from error
        asked = retry_after(error)
        wait = "" if asked is None else f" and asks to wait {asked:.0f} s"
        more = f"{wait}; the same command tries again" if passes(error) else ""
        raise SpoError(f"{repo_id} was not pushed: {hub} answered {status} ({said}){more}") from error
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        raise SpoError(
            f"{repo_id} was not pushed: {hub} did not answer ({first_line(error)}); the same command tries again"
        ) from error
    except ValueError as error:  # what the client raises for a card's header that the Hub refuses
        raise SpoError(f"{repo_id} was not pushed: {' '.join(str(error).split())[:300]}") from error
