"""What the Hub's client raises, as one line with the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from spo_data.errors import UserError, first_line


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
