"""The errors of the Hub's client, whichever HTTP library the installed release of it uses."""

import importlib
from types import ModuleType

import huggingface_hub.errors
import huggingface_hub.utils
import pytest

from spo_data.errors import SpoError, UserError
from spo_data.hub.client_errors import clear_hub_errors, clear_push_errors, passes


@pytest.fixture(params=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The HTTP library of huggingface_hub 1.x, and that of 2.x."""
    pytest.importorskip(request.param)
    library = importlib.import_module(request.param)
    monkeypatch.setattr(huggingface_hub.utils, "httpx", library)
    return library


def test_the_library_is_the_one_whose_errors_the_client_raises() -> None:
    assert issubclass(huggingface_hub.errors.HfHubHTTPError, huggingface_hub.utils.httpx.HTTPError)


@pytest.mark.parametrize("kind", ["ConnectError", "ReadTimeout", "RemoteProtocolError"])
def test_a_push_is_tried_again_after_a_lost_connection(http: ModuleType, kind: str) -> None:
    """With huggingface_hub 2.x, which raises httpx2's errors, a push ended in a traceback after one try."""
    error = getattr(http, kind)("lost")
    assert passes(error)
    said = r"^org/name was not pushed: the Hub at .* did not answer \(lost\); run the same command again$"
    with pytest.raises(SpoError, match=said), clear_push_errors("org/name", None):
        raise error


def test_a_push_is_tried_again_after_a_lost_upload() -> None:
    """hf-xet, which uploads large files, raises Python's own ConnectionError. A push ended in its traceback."""
    error = ConnectionError("Network error: lost")
    assert passes(error)
    said = r"^org/name was not pushed: the Hub at .* did not answer \(Network error: lost\)"
    with pytest.raises(SpoError, match=said), clear_push_errors("org/name", None):
        raise error


def test_a_download_without_an_answer_is_one_line(http: ModuleType) -> None:
    """With huggingface_hub 2.x, which raises httpx2's errors, it ended in a traceback."""
    said = r"^org/name: no such file, and the Hub at .* did not answer \(lost\)$"
    with pytest.raises(UserError, match=said), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise http.ConnectError("lost")


def test_an_error_that_no_try_can_change_is_not_tried_again(http: ModuleType) -> None:
    assert not passes(http.InvalidURL("no host"))
    assert not passes(ValueError("the card's header"))
