"""The memory and the time that bodies of requests may take."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from spo_data.sandbox.bodies import BODY_BYTES, SHORT_BYTES, BoundedBodies

LONG = 4 * SHORT_BYTES
LENGTH = [(b"content-length", str(LONG).encode())]


class Client:
    """One request: `arrive` is what the server has from it so far."""

    def __init__(self, bounded: Any, headers: list[tuple[bytes, bytes]]) -> None:
        self.read = 0
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.detail = b""
        self.arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
        self.task = asyncio.create_task(bounded(scope, self._receive, self._send))

    def arrive(self, size: int, *, more: bool) -> None:
        self.arrived.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})

    async def _receive(self) -> dict[str, Any]:
        message = await self.arrived.get()
        self.read += len(message["body"])
        return message

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.headers |= dict(message.get("headers", ()))
        self.detail += message.get("body", b"")


def make(held: int, *, read_seconds: float = 60.0, wait_seconds: float = 60.0) -> tuple[BoundedBodies, asyncio.Event]:
    """Bodies in front of an application that answers with a body's length once `done` is set, or its client is gone."""
    done = asyncio.Event()

    async def length(request: Request) -> PlainTextResponse:
        body = await request.body()
        ends = [asyncio.create_task(request.receive()), asyncio.create_task(done.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return PlainTextResponse(str(len(body)))

    app = Starlette(routes=[Route("/", length, methods=["POST"])])
    return BoundedBodies(app, held, read_seconds, wait_seconds), done


def run(use: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(use(), 20))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_no_more_is_read_of_unfinished_bodies_than_fits_in_memory() -> None:
    """Twenty unfinished bodies took 700 MB."""

    async def use() -> None:
        bounded, done = make(3 * LONG)
        clients = [Client(bounded, LENGTH) for _ in range(20)]
        for client in clients:
            client.arrive(LONG - 1, more=True)
        await settle()
        assert sum(client.read for client in clients) == 3 * (LONG - 1)
        done.set()
        for client in clients:
            client.arrive(1, more=False)
        await asyncio.gather(*(client.task for client in clients))
        assert {(client.status, client.detail) for client in clients} == {(200, str(LONG).encode())}

    run(use)


def test_a_body_is_counted_until_its_answer_is_sent() -> None:
    async def use() -> None:
        bounded, done = make(LONG)
        first = Client(bounded, LENGTH)
        first.arrive(LONG, more=False)
        await settle()
        second = Client(bounded, LENGTH)
        second.arrive(LONG, more=False)
        await settle()
        assert (first.read, second.read) == (LONG, 0), "the first one's program runs, with its body in memory"
        done.set()
        await asyncio.gather(first.task, second.task)
        assert second.status == 200

    run(use)


def test_a_request_that_is_cancelled_gives_its_memory_back() -> None:
    async def use() -> None:
        bounded, done = make(LONG)
        done.set()
        gone, waited = Client(bounded, LENGTH), Client(bounded, LENGTH)
        await settle()
        waited.task.cancel()
        gone.task.cancel()
        await asyncio.gather(gone.task, waited.task, return_exceptions=True)
        last = Client(bounded, LENGTH)
        last.arrive(LONG, more=False)
        await last.task
        assert last.status == 200

    run(use)


def test_long_bodies_hold_up_no_short_one() -> None:
    async def use() -> None:
        bounded, done = make(LONG)
        long, short = Client(bounded, LENGTH), Client(bounded, [(b"content-length", b"%d" % SHORT_BYTES)])
        short.arrive(SHORT_BYTES, more=False)
        done.set()
        await short.task
        assert (short.status, long.status) == (200, None)
        long.task.cancel()

    run(use)


def test_a_body_that_waits_too_long_for_memory_is_told_to_come_back() -> None:
    async def use() -> None:
        bounded, _ = make(LONG, wait_seconds=0.05)
        first, second = Client(bounded, LENGTH), Client(bounded, LENGTH)
        await second.task
        assert (second.status, second.headers[b"retry-after"], second.read) == (503, b"5", 0)
        first.task.cancel()

    run(use)


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    async def use() -> None:
        bounded, _ = make(LONG, read_seconds=0.1)
        client = Client(bounded, LENGTH)
        while not client.task.done():  # a slow one does not start the time anew
            client.arrive(1, more=True)
            await asyncio.sleep(0.02)
        await client.task
        assert (client.status, client.detail) == (408, b"body: not complete after 0.1 seconds")
        assert client.headers[b"connection"] == b"close"

    run(use)


def test_a_program_may_run_longer_than_its_body_may_take() -> None:
    async def use() -> None:
        bounded, done = make(LONG, read_seconds=0.05)
        client = Client(bounded, LENGTH)
        client.arrive(LONG, more=False)
        await asyncio.sleep(0.15)
        assert not client.task.done()
        done.set()
        await client.task
        assert client.status == 200

    run(use)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-length", str(BODY_BYTES + 1).encode())], 413),
        ([(b"transfer-encoding", b"chunked")], 411),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"1")], 411),
    ],
)
def test_a_length_is_judged_before_anything_is_read(headers: list[tuple[bytes, bytes]], status: int) -> None:
    async def use() -> None:
        client = Client(make(LONG)[0], headers)
        client.arrive(LONG, more=True)
        await client.task
        assert (client.status, client.read) == (status, 0)

    run(use)
