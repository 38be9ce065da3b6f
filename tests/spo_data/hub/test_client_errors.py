"""The errors of the Hub's client, whichever HTTP library the installed release of it uses."""

import importlib
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.errors
import huggingface_hub.utils
import pytest
from huggingface_hub import HfApi

from spo_data.errors import SpoError, UserError
from spo_data.hub.client_errors import clear_hub_errors, clear_push_errors, passes
from spo_data.hub.commit import Target, commit_files
from spo_data.hub.download import reach_dataset


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


@pytest.mark.parametrize("address", ["http://localhost:notaport", "http://h\x00"])
def test_an_endpoint_that_is_not_a_url_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str) -> None:
    """InvalidURL is no HTTPError, so downloads and pushes ended in a traceback."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    said = f"^HF_ENDPOINT {re.escape(address)} is not a URL \\(Invalid .*\\)$"
    with pytest.raises(UserError, match=said), reach_dataset("org/name", None):
        pass
    target = Target("org/name", None, create_pr=False, private=False, message="Values")
    with pytest.raises(UserError, match=said):
        commit_files(HfApi(address), target, {"a": tmp_path / "a"}, re.compile("a"), lambda _: "", lambda _: None)


def test_a_proxy_that_is_not_a_url_is_not_taken_for_the_endpoint(http: ModuleType) -> None:
    said = r"^a proxy's address is not a URL \(Invalid port\): check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY$"
    with pytest.raises(UserError, match=said), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise http.InvalidURL("Invalid port")
    with pytest.raises(UserError, match=said), clear_push_errors("org/name", None):
        raise http.InvalidURL("Invalid port")


def test_a_token_that_may_not_read_is_not_a_hub_without_an_answer() -> None:
    """hf-xet raises Python's own PermissionError. A download blamed the connection."""
    with (
        pytest.raises(UserError, match=r"^this token may not read org/name \(Forbidden\): `hf auth login`$"),
        clear_hub_errors("org/name", absent="no such file", revision=None),
    ):
        raise PermissionError("Forbidden")


def test_a_token_that_may_not_write_is_one_line_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """hf-xet raises Python's own PermissionError. A push ended in its traceback."""
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="0" * 40, private=False))
    monkeypatch.setattr(HfApi, "list_repo_tree", lambda *_, **__: iter(()))

    def create_commit(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    target = Target("org/name", None, create_pr=False, private=False, message="Values")
    said: list[str] = []
    with pytest.raises(SpoError, match=r"^this token may not write to org/name \(Forbidden\): use .*`hf auth login`"):
        commit_files(HfApi(), target, {}, re.compile("a"), lambda _: "the card", said.append)
    assert [line for line in said if "trying again" in line] == []


def test_a_file_here_that_may_not_be_read_is_not_the_tokens_fault() -> None:
    error = PermissionError(13, "Permission denied", "/cache/file")
    said = r"^org/name: /cache/file: Permission denied$"
    with pytest.raises(UserError, match=said), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise error
    said = r"^org/name was not pushed: /cache/file: Permission denied$"
    with pytest.raises(SpoError, match=said), clear_push_errors("org/name", None):
        raise error


def test_what_hf_xet_raises_for_anything_else_is_one_line() -> None:
    """It is a bare RuntimeError. A download ended in its traceback; our own bugs still do."""
    said = r"^org/name could not be downloaded \(Data processing error\)$"
    with pytest.raises(UserError, match=said), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise RuntimeError("Data processing error\nmore")
    with pytest.raises(NotImplementedError), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise NotImplementedError


def test_an_error_that_no_try_can_change_is_not_tried_again(http: ModuleType) -> None:
    assert not passes(http.InvalidURL("no host"))
    assert not passes(ValueError("the card's header"))
