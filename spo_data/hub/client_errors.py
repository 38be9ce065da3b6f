"""Turn the errors of the Hub's client into messages of one line, with the fix.

huggingface_hub 1.x raises httpx's errors and 2.x httpx2's; `huggingface_hub.utils.httpx` is the one that it uses.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from spo_data.errors import SpoError, UserError, first_line, retry_after

PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may change at the next try; 409 and 412 mean that somebody else's commit came first."""


@contextmanager
def clear_hub_errors(subject: str, *, absent: str, revision: str | None) -> Iterator[None]:
    """Raise UserError for the Hub's errors in the block.

    Messages begin with `subject`, which the user asked for; `absent` says what it is not, as in "no such folder".
    """
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
    from huggingface_hub.utils import httpx

    try:
        yield
    except httpx.InvalidURL as error:
        raise _name_bad_address(error) from error
    except HFValidationError as error:
        raise UserError(f"{subject}: {absent}, and not a Hub id ({first_line(error)})") from error
    except GatedRepoError as error:
        raise UserError(f"{subject} is gated: accept its terms on its page, then `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{subject} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{subject}: {absent}, and not on the Hub (a private one needs `hf auth login`)") from error
    except PermissionError as error:
        if error.filename is not None:
            raise UserError(f"{subject}: {error.filename}: {error.strerror}") from error
        raise UserError(f"this token may not read {subject} ({first_line(error)}): `hf auth login`") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{subject}: {absent}, not in the cache, and HF_HUB_OFFLINE is set") from error
        raise UserError(
            f"{subject}: {absent}, and the Hub at {constants.ENDPOINT} did not answer ({first_line(error)})"
        ) from error
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # such as NotImplementedError: a bug of ours
            raise
        # hf-xet, which downloads large files, raises it for whatever else goes wrong.
        raise UserError(f"{subject} could not be downloaded ({first_line(error)})") from error


def _name_bad_address(error: Exception) -> UserError:
    """Return the error for an address that is not a URL: that of the Hub, or else that of a proxy."""
    from huggingface_hub import constants
    from huggingface_hub.utils import httpx

    try:
        httpx.URL(constants.ENDPOINT)
    except httpx.InvalidURL:
        return UserError(f"HF_ENDPOINT {constants.ENDPOINT} is not a URL ({first_line(error)})")
    return UserError(
        f"a proxy's address is not a URL ({first_line(error)}): check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
    )


class UploadError(SpoError):
    """A file could not be uploaded; the next try may succeed."""


def passes(error: BaseException) -> bool:
    """Return whether an error of the Hub's client may pass before the next try."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    # ConnectionError and TimeoutError are those of hf-xet, which uploads large files.
    return isinstance(
        error, (httpx.TransportError, LocalEntryNotFoundError, UploadError, ConnectionError, TimeoutError)
    )


@contextmanager
def clear_push_errors(repo_id: str, revision: str | None) -> Iterator[None]:
    """Raise SpoError, in one line with the fix, for the Hub's errors during a push."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    hub = f"the Hub at {constants.ENDPOINT}"
    try:
        yield
    except httpx.InvalidURL as error:
        raise _name_bad_address(error) from error
    except OfflineModeIsEnabled as error:
        raise SpoError(f"{repo_id} cannot be pushed: HF_HUB_OFFLINE is set; unset it") from error
    except GatedRepoError as error:
        raise SpoError(f"{repo_id} is gated: accept its terms on its page, then push again") from error
    except RevisionNotFoundError as error:
        raise SpoError(
            f"{repo_id} has no branch {revision!r}: create it with `hf repos branch create {repo_id} {revision}"
            " --type dataset`"
        ) from error
    except RepositoryNotFoundError as error:
        raise SpoError(
            f"{repo_id} does not exist, or this token cannot see it: check the name, or log in with an account that can"
            " (`hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        status, said = error.response.status_code, error.server_message or first_line(error)
        if status == 401:
            raise SpoError(f"{hub} refuses the token ({said}): `hf auth login`, HF_TOKEN or --token") from error
        if status == 403:
            raise _refuse_token(repo_id, said) from error
        asked = retry_after(error)
        wait = "" if asked is None else f" and asks to wait {asked:.0f} s"
        more = f"{wait}; run the same command again" if passes(error) else ""
        raise SpoError(f"{repo_id} was not pushed: {hub} answered {status} ({said}){more}") from error
    except PermissionError as error:
        if error.filename is not None:
            raise SpoError(f"{repo_id} was not pushed: {error.filename}: {error.strerror}") from error
        raise _refuse_token(repo_id, first_line(error)) from error  # hf-xet's 403
    except (httpx.HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise SpoError(
            f"{repo_id} was not pushed: {hub} did not answer ({first_line(error)}); run the same command again"
        ) from error
    except ValueError as error:  # the client raises it if the Hub refuses the card's header
        raise SpoError(f"{repo_id} was not pushed: {' '.join(str(error).split())[:300]}") from error


def _refuse_token(repo_id: str, said: str) -> SpoError:
    return SpoError(
        f"this token may not write to {repo_id} ({said}): use one with write access (`hf auth login`), or propose the"
        " change with --create-pr"
    )
