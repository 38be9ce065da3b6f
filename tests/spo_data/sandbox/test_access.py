"""Who may use the sandbox server: no web page, and with a token nobody else."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from spo_data.sandbox.access import AccessGuard

SECRET = "0123456789abcdef"


def ask(headers: dict[str, str], *, served: str = "127.0.0.1", token: str | None = None) -> httpx.Response:
    async def go() -> httpx.Response:
        guard: Any = AccessGuard(PlainTextResponse("in"), served, token)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://127.0.0.1:8080") as client:
            return await client.post("/run_code", headers=headers)

    return asyncio.run(go())


def is_let_in(headers: dict[str, str], **options: Any) -> bool:
    answer = ask(headers, **options)
    assert (answer.text == "in") == answer.is_success
    return answer.is_success


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:8080"])
@pytest.mark.parametrize("token", [None, SECRET])
def test_a_request_of_a_web_page_is_refused(origin: str, token: str | None) -> None:
    """Any page that a browser on this machine showed could run programs."""
    answer = ask({"Origin": origin, "Authorization": f"Bearer {SECRET}"}, token=token)
    assert answer.status_code == 403
    assert answer.json() == {"detail": "Origin: a web page may not run programs here"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8080", "10.1.2.3:80", "Box:80"]
)
def test_an_address_and_the_name_served_are_hosts(host: str) -> None:
    assert is_let_in({"Host": host}, served="box")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "localhost."),
        *("127.0.0.1@evil.example", "evil.example/127.0.0.1", "[::1", "", "box.evil.example", "0x7f.1", "a\u001b[2J"),
    ],
)
def test_the_name_of_another_is_no_host(host: str) -> None:
    """A page that pointed its own name to 127.0.0.1 could run programs and read what they printed."""
    answer = ask({"Host": host}, served="box")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("Host: '")
    assert answer.json()["detail"].isprintable()


def test_with_a_token_any_name_will_do() -> None:
    assert is_let_in({"Host": "sandbox", "Authorization": f"Bearer {SECRET}"}, token=SECRET)


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (None, "Authorization: no token of this server"),
        (SECRET, "Authorization: no token of this server"),
        ("Digest username=x", "Authorization: no token of this server"),
        ("Basic !", "Authorization: no token of this server"),
        ("Bearer", "Authorization: not the token of this server"),
        (f"Bearer {SECRET[:-1]}", "Authorization: not the token of this server"),
        (f"Bearer {SECRET}x", "Authorization: not the token of this server"),
        ("Bearer \xe9", "Authorization: not the token of this server"),
    ],
)
def test_without_its_token_a_server_answers_nobody(sent: str | None, detail: str) -> None:
    answer = ask({} if sent is None else {"Authorization": sent.encode("latin-1")}, token=SECRET)  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()) == (401, {"detail": detail})
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_may_be_a_password_as_netrc_makes_it() -> None:
    """verl's client sends no token of its own, but the user and password of ~/.netrc."""
    basic = httpx.BasicAuth("anyone", SECRET)._auth_header
    assert is_let_in({"Authorization": basic}, token=SECRET)
    assert not is_let_in({"Authorization": httpx.BasicAuth(SECRET, "")._auth_header}, token=SECRET)
