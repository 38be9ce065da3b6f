"""Connections to the sandbox server that are silent, slow, or too many."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from spo_data.sandbox.connections import BoundedConnection

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def serving(limit: int = 100) -> Iterator[int]:
    """Answer every request at once, without its body, or /slow after a second, and yield the port."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(scope["path"] == "/slow")
        await PlainTextResponse("in")(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        answer,
        http=BoundedConnection,
        limit_concurrency=limit,
        lifespan="off",
        log_level="critical",
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.settimeout(20)
    return connection


def is_cut(connection: socket.socket, *, dribble: bytes = b"") -> bool:
    """Whether the server ends the connection while these bytes arrive one by one."""
    connection.settimeout(0.05)
    waiting, until = list(dribble), time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if waiting:
                connection.sendall(bytes([waiting.pop(0)]))
            if not connection.recv(65_536):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    ("first", "dribble"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"X-Slow: " + b"x" * 200),
        (HEAD, b"x" * 200),
        (GET, b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 200),
    ],
    ids=["silent", "slow headers", "slow body of an answered request", "slow headers after an answer"],
)
def test_a_client_that_keeps_us_waiting_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, first: bytes, dribble: bytes
) -> None:
    """A connection that sent nothing, or a byte now and then, was kept for ever."""
    monkeypatch.setattr(BoundedConnection, "patience_seconds", 0.3)
    with serving() as port, connect(port) as connection:
        connection.sendall(first)
        assert is_cut(connection, dribble=dribble)
        with connect(port) as another:
            another.sendall(GET)
            assert another.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
def test_a_client_that_waits_for_us_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "patience_seconds", 0.3)
    with serving() as port, connect(port) as connection:
        for part in (b"GET /slow ", b"HTTP/1.1\r\n", b"Host: localhost\r\n\r\n"):
            connection.sendall(part)
            time.sleep(0.02)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_more_connections_than_the_limit_are_cut_off() -> None:
    """Silent connections were accepted without a limit."""
    with serving(limit=3) as port:
        kept = [connect(port) for _ in range(3)]
        assert is_cut(connect(port))
        kept.pop().close()
        kept.pop().close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # the server notices the ends
            with connect(port) as another:
                another.sendall(GET)
                try:
                    if another.recv(4096).startswith(b"HTTP/1.1 200"):
                        return
                except ConnectionError:
                    continue
        raise AssertionError("nobody is served any more")
