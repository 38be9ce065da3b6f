"""The errors of the Hub's client, whichever HTTP library the installed release of it uses."""

import hashlib
import importlib
import re
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.errors
import huggingface_hub.utils
import pytest
from huggingface_hub import HfApi

from spo_data.errors import SpoError, UserError
from spo_data.hub.client_errors import clear_hub_errors, clear_push_errors, passes
from spo_data.hub.commit import Target, Wanted, commit_files
from spo_data.hub.download import reach_dataset
from spo_data.hub.snapshot import Snapshot

TARGET = Target("org/name", None, create_pr=False, private=False, message="Values")
URL = "https://huggingface.co/api/datasets/org/name/commit/main"


class OneFile:
    """A publication of a README."""

    def judge(self, there: Snapshot) -> None:
        """Accept whatever is there."""

    def make_wanted(self, there: Snapshot) -> Wanted:
        assert there.files == {}
        return Wanted({"README.md": b"the card"}, ())

    def find_fault(self, there: Snapshot, said: str) -> str:
        return f"{said} is nobody's in {there.repo_id}"


def raise_in_commit(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the client raise this for a commit to an empty dataset."""
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="0" * 40, private=False))
    monkeypatch.setattr(HfApi, "list_repo_tree", lambda *_, **__: iter(()))

    def create_commit(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "create_commit", create_commit)


def answer(http: ModuleType, method: str, url: str, **response: Any) -> Exception:
    """What the client raises for an answer with status 403."""
    try:
        huggingface_hub.utils.hf_raise_for_status(http.Response(403, request=http.Request(method, url), **response))
    except huggingface_hub.errors.HfHubHTTPError as error:
        return error
    raise AssertionError


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
def test_an_endpoint_that_is_not_a_url_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """InvalidURL is no HTTPError, so downloads and pushes ended in a traceback."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    said = f"^HF_ENDPOINT {re.escape(repr(address))} is not a URL \\(Invalid .*\\)$"
    with pytest.raises(UserError, match=said), reach_dataset("org/name", None):
        pass
    with pytest.raises(UserError, match=said):
        commit_files(HfApi(address), TARGET, OneFile(), lambda _: None)


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
    raise_in_commit(monkeypatch, PermissionError("Forbidden"))
    said: list[str] = []
    with pytest.raises(SpoError, match=r"^this token may not write to org/name \(Forbidden\): use .*`hf auth login`"):
        commit_files(HfApi(), TARGET, OneFile(), said.append)
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


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets every request of the client be answered by 200 and a text, as by a proxy."""
    library = huggingface_hub.utils.httpx

    def let(text: str) -> None:
        content = text.encode()
        transport = library.MockTransport(lambda _: library.Response(200, content=content))
        client = library.Client(transport=transport)
        monkeypatch.setattr(huggingface_hub.utils._http, "_GLOBAL_CLIENT", client)

    return let


@pytest.mark.parametrize("text", ["{}", "[]", "null", "<html>Log in</html>", "", '{"id": [', '{"id": "org/name"}'])
def test_an_answer_in_the_hub_s_place_is_one_line(answers: Callable[[str], None], text: str) -> None:
    """A proxy that answered 200 with {} ended downloads and pushes in a traceback (KeyError: 'id')."""
    answers(text)
    said = r"did not answer as the Hub does \(\w+: .*\): a proxy or a login page may have answered in its place"
    with (
        pytest.raises(SpoError, match=f"^org/name cannot be read: what .* {said}$") as ended,
        reach_dataset("org/name", None),
    ):
        pass
    assert ended.value.exit_status == 1
    with pytest.raises(
        SpoError, match=f"^org/name was not pushed: what .* {said}; run the same command again$"
    ) as ended:
        commit_files(HfApi(token="hf_x"), TARGET, OneFile(), lambda _: None)
    assert ended.value.exit_status == 1


def test_a_bug_of_ours_during_a_call_keeps_its_traceback() -> None:
    with pytest.raises(KeyError, match="ours"), clear_hub_errors("org/name", absent="no such file", revision=None):
        raise KeyError("ours")
    with pytest.raises(KeyError, match="ours"), clear_push_errors("org/name", None):
        raise KeyError("ours")


def test_a_token_that_cannot_be_sent_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's error holds the token; the push was tried six times, with the token on the screen each time."""
    said: list[str] = []
    fault = "^the Hub token has characters that no token has: check HF_TOKEN"
    with pytest.raises(UserError, match=fault):
        commit_files(HfApi("http://127.0.0.1:9", token="hf_secr\u00e9t"), TARGET, OneFile(), said.append)

    def refuse(*_: object, **__: object) -> None:
        raise huggingface_hub.utils.httpx.LocalProtocolError("Illegal header value b'Bearer hf_secret\x01'")

    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    with pytest.raises(UserError, match=fault) as ended:
        commit_files(HfApi(token="hf_secret\x01"), TARGET, OneFile(), said.append)
    assert (said, ended.value.__suppress_context__) == ([], True)


def test_a_missing_package_for_a_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImportError of httpx ended in a traceback."""

    def refuse(*_: object, **__: object) -> None:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    with pytest.raises(UserError, match=r"^a SOCKS proxy needs the package socksio"), reach_dataset("org/name", None):
        pass


def test_a_push_offline_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited half a minute for HF_HUB_OFFLINE to be unset."""
    said: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")

    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    with pytest.raises(SpoError, match="HF_HUB_OFFLINE is set; unset it"):
        commit_files(HfApi(token="hf_x"), TARGET, OneFile(), said.append)
    assert said == []


def test_an_error_that_no_try_can_change_is_not_tried_again(http: ModuleType) -> None:
    assert not passes(http.InvalidURL("no host"))
    assert not passes(ValueError("the card's header"))


STORAGE = "Your storage patterns tripped our internal systems! Please contact us at website@huggingface.co"
QUOTA = "Private repository storage limit reached, please upgrade your plan to increase your private storage limit."
DISABLED = "Access to this resource is disabled."


@pytest.mark.parametrize(
    "said",
    [
        "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request",
        "You don't have the rights to create a dataset under the namespace",
        "This authentication method does not have sufficient permissions to call this API endpoint",
        "Authorization error.",
        "you must use a write token to upload to a repository.",
    ],
)
def test_a_403_is_about_the_token_if_the_hub_says_so(said: str) -> None:
    error = answer(huggingface_hub.utils.httpx, "POST", URL, headers={"X-Error-Message": said})
    with pytest.raises(SpoError) as raised, clear_push_errors("org/name", None):
        raise error
    assert str(raised.value).startswith(f"this token may not write to org/name ({said}): use one with write access")


@pytest.mark.parametrize("said", [STORAGE, QUOTA, DISABLED])
def test_a_403_about_something_else_is_shown_as_what_it_is(said: str) -> None:
    """Each was "this token may not write", with the advice to log in."""
    error = answer(huggingface_hub.utils.httpx, "POST", URL, headers={"X-Error-Message": said})
    with pytest.raises(SpoError) as raised, clear_push_errors("org/name", None):
        raise error
    assert re.fullmatch(
        rf"org/name was not pushed: the Hub at .* refuses it \(403\): {re.escape(said)}", str(raised.value)
    )
    with pytest.raises(UserError) as raised, clear_hub_errors("org/name", absent="no such file", revision=None):
        raise error
    assert str(raised.value).startswith("org/name cannot be read: the Hub at ")
    assert str(raised.value).endswith(f"refuses it ({said})"), "a download blamed the connection"


@pytest.mark.parametrize("page", [b"", b"<html>Blocked by the firewall</html>"])
def test_a_403_without_a_reason_blames_nobody(page: bytes) -> None:
    """The client's own text says to check the token, for each 403."""
    error = answer(huggingface_hub.utils.httpx, "POST", URL, content=page, headers={"Content-Type": "text/html"})
    with (
        pytest.raises(SpoError, match="answered 403 without a reason: the token may lack"),
        clear_push_errors("o/n", None),
    ):
        raise error


def test_storage_that_refuses_a_file_is_not_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address to upload to is signed, and needs no token. The answer is XML."""
    xml = "<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code>\n<Message>Request has expired</Message></Error>"
    headers = {"Content-Type": "application/xml"}
    url = "https://hf-hub-lfs.s3.amazonaws.com/repos/a?X-Amz-Signature=secret"
    cause = answer(huggingface_hub.utils.httpx, "PUT", url, text=xml, headers=headers)
    error = RuntimeError("Error while uploading 'values/train-00000-of-00001.parquet' to the Hub.")
    error.__cause__ = cause
    raise_in_commit(monkeypatch, error)
    with pytest.raises(SpoError) as raised:
        commit_files(HfApi(), TARGET, OneFile(), lambda _: None)
    assert str(raised.value) == (
        "org/name was not pushed: the storage at hf-hub-lfs.s3.amazonaws.com refuses"
        " values/train-00000-of-00001.parquet (AccessDenied: Request has expired), which is not about the token: run"
        " the same command again; if it refuses again, a proxy or firewall may be in the way"
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "https://huggingface.co/api/datasets/org/name/xet-write-token/main",
            rf"org/name was not pushed: the Hub at \S+ refuses it \(403\): {QUOTA}",
        ),
        (
            "https://cas-server.xethub.hf.co/v1/xorb-grants/default/bea8",
            r"org/name was not pushed: the storage at cas-server\.xethub\.hf\.co refuses a file \(status 403\), .*",
        ),
    ],
)
def test_what_hf_xet_calls_a_lost_connection_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    """hf-xet 1.8 raises a ConnectionError with status and address. It was tried six times: "did not answer"."""
    said = f"Network error: Request error: HTTP status client error (403 Forbidden), domain: {address}"
    raise_in_commit(monkeypatch, ConnectionError(said))
    http = huggingface_hub.utils.httpx
    refuses = http.MockTransport(lambda _: http.Response(403, headers={"X-Error-Message": QUOTA}))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: http.Client(transport=refuses))
    shown: list[str] = []
    with pytest.raises(SpoError) as raised:
        commit_files(HfApi("https://huggingface.co", token="hf_x"), TARGET, OneFile(), shown.append)
    assert re.fullmatch(expected, str(raised.value))
    assert [line for line in shown if "trying again" in line] == []


def test_a_file_that_the_hub_does_not_store_is_named_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a batch of files has a reason for each; it was shown with the file's checksum alone."""
    oid = hashlib.sha256(b"the card").hexdigest()
    said = f"LFS batch API returned errors:\nEncountered error for file with OID {oid}: `{QUOTA}"
    raise_in_commit(monkeypatch, ValueError(said))
    with pytest.raises(SpoError) as raised:
        commit_files(HfApi(), TARGET, OneFile(), lambda _: None)
    assert str(raised.value) == f"org/name was not pushed: the Hub does not store README.md: {QUOTA}"


def test_a_header_that_the_hub_refuses_is_somebody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_in_commit(monkeypatch, ValueError('Invalid metadata in README.md.\n- "license" must be one of [mit]'))
    with pytest.raises(SpoError) as raised:
        commit_files(HfApi(), TARGET, OneFile(), lambda _: None)
    said = '"license" must be one of [mit]'
    assert str(raised.value) == (
        f"org/name was not pushed: the Hub refuses the header of README.md ({said}): {said} is nobody's in org/name"
    )
