"""Turn the errors of the Hub's client into messages of one line, with the fix.

huggingface_hub 1.x raises httpx's errors and 2.x httpx2's; `huggingface_hub.utils.httpx` is the one that it uses.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spo_data.errors import SpoError, UserError, first_line, reason, retry_after
from spo_data.hub.answers import describe_unreadable, is_unreadable
from spo_data.text import excerpt

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may change at the next try; 409 and 412 mean that somebody else's commit came first."""


@contextmanager
def clear_hub_errors(
    subject: str, *, absent: str, revision: str | None, otherwise: Callable[[], str] = str
) -> Iterator[None]:
    """Raise UserError for the Hub's errors in the block.

    Messages begin with `subject`, which the user asked for; `absent` says what it is not, as in "no such folder", and
    `otherwise` how to do without a Hub that does not answer.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    try:
        yield
    except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError, ImportError) as error:
        raise _name_unsendable(error) from None  # it may quote the token
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
            raise UserError(f"{subject}: {error.filename}: {reason(error)}") from error
        raise UserError(f"this token may not read {subject} ({first_line(error)}): `hf auth login`") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        refusal = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        if isinstance(refusal, HfHubHTTPError) and refusal.response.status_code == 403:
            said = get_said(refusal) or "no reason given"
            raise UserError(f"{subject} cannot be read: the Hub at {constants.ENDPOINT} refuses it ({said})") from error
        silent = f"the Hub at {constants.ENDPOINT} did not answer ({first_line(error)})"
        raise UserError(f"{subject}: {absent}, and {silent}{otherwise()}") from error
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # such as NotImplementedError: a bug of ours
            raise
        # hf-xet, which downloads large files, raises it for whatever else goes wrong.
        raise UserError(f"{subject} could not be downloaded ({first_line(error)})") from error
    except Exception as error:
        if not is_unreadable(error):
            raise
        raise SpoError(f"{subject} cannot be read: {describe_unreadable(error)}") from error


def _name_bad_address(error: Exception) -> UserError:
    """Return the error for an address that is not a URL: that of the Hub, or else that of a proxy."""
    from huggingface_hub import constants
    from huggingface_hub.utils import httpx

    try:
        httpx.URL(constants.ENDPOINT)
    except httpx.InvalidURL:
        return UserError(f"HF_ENDPOINT {constants.ENDPOINT!r:.200} is not a URL ({first_line(error)})")
    return UserError(
        f"a proxy's address is not a URL ({first_line(error)}): check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
    )


def _name_unsendable(error: Exception) -> Exception:
    """Return the error for a request that cannot be sent, without what the client says of the token."""
    from huggingface_hub.utils import httpx

    if isinstance(error, httpx.InvalidURL):
        return _name_bad_address(error)
    if isinstance(error, ImportError):
        if "socks" not in str(error):
            return error
        return UserError("a SOCKS proxy needs the package socksio: `pip install socksio`, or unset the proxy")
    if isinstance(error, UnicodeEncodeError) and error.encoding != "ascii":  # a header is ASCII, an address UTF-8
        return UserError(f"a name on the Hub cannot have the character {error.object[error.start]!a}")
    return UserError(
        "the Hub token has characters that no token has: check HF_TOKEN and --token, or log in again (`hf auth login`)"
    )


class UploadError(SpoError):
    """A file could not be uploaded; the next try may succeed."""


def passes(error: BaseException) -> bool:
    """Return whether an error of the Hub's client may pass before the next try."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    if isinstance(error, (OfflineModeIsEnabled, httpx.LocalProtocolError)) or _find_xet_refusal(error):
        return False
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
    except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError, ImportError) as error:
        raise _name_unsendable(error) from None  # it may quote the token
    except OfflineModeIsEnabled as error:
        raise SpoError(f"{repo_id} cannot be pushed: HF_HUB_OFFLINE is set; unset it") from error
    except GatedRepoError as error:
        said = get_said(error)
        raise SpoError(
            f"{repo_id} is gated: accept its terms on its page, then push again{f' ({said})' if said else ''}"
        ) from error
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
        status, said = error.response.status_code, get_said(error) or first_line(error)
        if status == 401:
            raise SpoError(f"{hub} refuses the token ({said}): `hf auth login`, HF_TOKEN or --token") from error
        if status == 403:
            raise explain_refusal(repo_id, error) from error
        asked = retry_after(error)
        wait = "" if asked is None else f" and asks to wait {asked:.0f} s"
        more = f"{wait}; run the same command again" if passes(error) else ""
        raise SpoError(f"{repo_id} was not pushed: {hub} answered {status} ({said}){more}") from error
    except PermissionError as error:
        if error.filename is not None:
            raise SpoError(f"{repo_id} was not pushed: {error.filename}: {reason(error)}") from error
        raise _refuse_token(repo_id, first_line(error)) from error  # hf-xet's 403
    except (httpx.HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise SpoError(
            f"{repo_id} was not pushed: {hub} did not answer ({first_line(error)}); run the same command again"
        ) from error
    except Exception as error:
        if is_unreadable(error):
            raise SpoError(
                f"{repo_id} was not pushed: {describe_unreadable(error)}; run the same command again"
            ) from error
        if not isinstance(error, (ValueError, OSError)):
            raise
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise SpoError(f"{repo_id} was not pushed: {place}{excerpt(said, 300)}") from error


_ABOUT_THE_TOKEN = re.compile(
    r"\btokens?\b|permission|\brights\b|authori[sz]ation|not authori[sz]ed|unauthori[sz]ed|create_pr|write access"
    r"|credential|log ?in\b|\bSSO\b",
    re.IGNORECASE,
)
"""What the Hub says in a 403 that is about the token. It also refuses with 403 if a quota is exceeded, if an account's
storage patterns are blocked and if a repository is disabled."""
_XET_REFUSAL = re.compile(r"HTTP status client error \((4\d\d)\b[^)]*\), domain: (https?://[^\s,)]+)")
_XML = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


def get_said(error: Any) -> str:
    """Return what the answer itself says, on one line; empty if it says nothing.

    The client's own text is no answer of the Hub's: for each 403, it says to check the token.
    """
    said = error.server_message or ""
    if in_xml := _XML.search(said):  # S3 and other storage
        said = f"{in_xml[1]}: {in_xml[2]}"
    return excerpt(said, 300)


def _find_xet_refusal(error: BaseException) -> re.Match[str] | None:
    """Find status and address of an answer that hf-xet reports as a lost connection although it is a refusal."""
    found = _XET_REFUSAL.search(str(error)) if isinstance(error, ConnectionError) else None
    return None if found is None or int(found[1]) in PASSING else found


def explain_xet_error(api: "HfApi", repo_id: str, error: ConnectionError) -> Exception:
    """Return the error for what hf-xet raises: if the Hub refused it the right to upload, the Hub's own reason.

    hf-xet says the status and the address alone, so the Hub is asked once more.
    """
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    found = _find_xet_refusal(error)
    if found is None:
        return error
    if found[2].startswith(f"{api.endpoint}/"):
        try:
            hf_raise_for_status(get_session().get(found[2], headers={"Authorization": f"Bearer {api.token}"}))
        except HfHubHTTPError as refusal:
            return refusal
        except httpx.TransportError as lost:
            return lost
    return _refuse_upload(repo_id, httpx.URL(found[2]).host, "a file", f"status {found[1]}")


def _refuse_upload(repo_id: str, host: str, name: str, said: str) -> SpoError:
    return SpoError(
        f"{repo_id} was not pushed: the storage at {host} refuses {name} ({said}), which is not about the token: run"
        " the same command again; if it refuses again, a proxy or firewall may be in the way"
    )


def explain_refusal(repo_id: str, error: Any, *, creating: bool = False) -> SpoError:
    """Return the error for an answer with status 403: it is about the token only if the Hub says so."""
    from huggingface_hub import constants

    said, request = get_said(error), error.response.request
    if request.method == "PUT":
        name = re.search("'(.+)'", str(error.__cause__ or ""))
        return _refuse_upload(repo_id, request.url.host, name[1] if name else "a file", said or "no reason given")
    if _ABOUT_THE_TOKEN.search(said):
        if creating:
            return SpoError(
                f"this token may not create a dataset under {repo_id.partition('/')[0]} ({said}): use one with write"
                " access (`hf auth login`), or choose another name"
            )
        return _refuse_token(repo_id, said)
    did = "created" if creating else "pushed"
    if said:
        return SpoError(f"{repo_id} was not {did}: the Hub at {constants.ENDPOINT} refuses it (403): {said}")
    return SpoError(
        f"{repo_id} was not {did}: the Hub at {constants.ENDPOINT} answered 403 without a reason: the token may lack"
        " write access, or something between here and the Hub, such as a proxy, refuses the request"
    )


def _refuse_token(repo_id: str, said: str) -> SpoError:
    return SpoError(
        f"this token may not write to {repo_id} ({said}): use one with write access (`hf auth login`), or propose the"
        " change with --create-pr"
    )
