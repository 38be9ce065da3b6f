"""Environment variables that the Hub's clients read when they are imported, where a bad one ends in a traceback.

check_environment()     # UserError: HF_ENDPOINT 'http://[::1' is not a URL (Invalid IPv6 URL)
"""

import os
from urllib.parse import urlsplit

from spo_data.errors import UserError, first_line

_SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")


def check_environment() -> None:
    """Raise UserError for a variable with which the clients cannot be imported."""
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        urlsplit(endpoint)
    except ValueError as error:
        raise UserError(f"HF_ENDPOINT {endpoint!r:.200} is not a URL ({first_line(error)})") from error
    for name in _SECONDS:
        if (seconds := os.environ.get(name)) is not None:
            try:
                int(seconds)
            except ValueError as error:
                raise UserError(f"{name} {seconds!r:.200} is not a whole number of seconds") from error
