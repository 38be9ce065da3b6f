"""What a user sees while the Hub's clients repeat a request."""

import io
import logging
from collections.abc import Iterator

import huggingface_hub.utils
import pytest
from huggingface_hub.utils import _http, http_backoff

from spo_cli.terminal.exits import clean_exit
from spo_cli.terminal.hub_retries import LOGGERS

httpx = huggingface_hub.utils.httpx


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the clients print during a command."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    handler = logging.StreamHandler(io.StringIO())
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    with clean_exit():
        for logger in loggers:
            logger.addHandler(handler)
        yield handler.stream
    for logger in loggers:
        logger.removeHandler(handler)


def test_a_request_that_is_repeated_is_one_line_without_its_address(
    shown: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "HTTP Error 503 thrown while requesting PUT https://…" and "Retrying in 1s [Retry 1/5]." were shown."""
    answers = iter([httpx.Response(503), httpx.ConnectError("lost"), httpx.Response(429), httpx.Response(200)])

    def answer(_request: object) -> object:
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(_http, "get_session", lambda: client)
    assert http_backoff("PUT", "http://hub/secret-address").status_code == 200
    assert shown.getvalue() == (
        "the Hub answered 503: trying again in 1 s\n"
        "the Hub did not answer: trying again in 2 s\n"
        "the Hub answered 429: trying again in 4 s\n"
    )


def test_other_lines_of_the_clients_stay_and_their_other_retries_are_plain(shown: io.StringIO) -> None:
    http, download, stream = (logging.getLogger(name) for name in LOGGERS)
    http.warning("This dataset is deprecated.")
    download.warning("Error while downloading from %s: %s\nTrying to resume download...", "http://hub/x", "lost")
    download.warning("Error while downloading from %s: %s\nMax retries exceeded.", "http://hub/x", "lost")
    stream.warning("Got disconnected from remote data host. Retrying in 5sec [1/20]")
    assert shown.getvalue().splitlines() == [
        "This dataset is deprecated.",
        "a download from the Hub broke off: trying again",
        "the Hub did not answer: trying again in 5 s",
    ]
