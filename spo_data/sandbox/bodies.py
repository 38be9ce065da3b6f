"""Bound the memory that the bodies of requests take, and the time that they may take to arrive.

    app.add_middleware(BoundedBodies, held_bytes=64 << 20)

The length is known before anything is read: a request must declare it, and the HTTP parser reads no more. Until its
answer is sent, a body counts against `held_bytes`. If too few of them are free, the body is not read yet, and the
connection holds it back. A short body is not counted: the HTTP parser has it in memory anyway.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 32 << 20
"""Enough for code, stdin and their escapes in JSON."""
SHORT_BYTES = 64 << 10
READ_SECONDS = 60.0
WAIT_SECONDS = 20.0
"""Shorter than the half a minute after which clients give up a connection that does not take their data."""
RETRY_SECONDS = 5


class BoundedBodies:
    """Refuses a body that is too long, of unknown length, or too slow, and lets bodies wait for memory."""

    def __init__(
        self, app: ASGIApp, held_bytes: int, read_seconds: float = READ_SECONDS, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._app = app
        self._memory = _Memory(held_bytes)
        self._read_seconds = read_seconds
        self._wait_seconds = wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on once there is memory for its body, or answer why it is refused."""
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers:
            refusal = JSONResponse({"detail": "body: its length must be declared (Content-Length)"}, 411)
            return await refusal(scope, receive, send)
        size = int(headers.get("content-length", 0))
        if size > BODY_BYTES:
            refusal = JSONResponse({"detail": f"body: at most {BODY_BYTES >> 20} MB"}, 413)
            return await refusal(scope, receive, send)
        counted = size if size > SHORT_BYTES else 0
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._memory.take(counted)
        except TimeoutError:
            detail = "the bodies of other requests take all memory set aside for them"
            refusal = JSONResponse({"detail": detail}, 503, {"Retry-After": str(RETRY_SECONDS)})
            return await refusal(scope, receive, send)
        try:
            await self._app(scope, self._limit(receive), send)
        finally:
            self._memory.give_back(counted)

    def _limit(self, receive: Receive) -> Receive:
        """Return a `receive` that ends the request if its body has not arrived in time."""
        deadline = asyncio.get_running_loop().time() + self._read_seconds
        is_whole = False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else deadline):
                    message = await receive()
            except TimeoutError:  # FastAPI reads the body, and turns an HTTPException into an answer
                detail = f"body: not complete after {self._read_seconds:g} seconds"
                raise HTTPException(408, detail, {"Connection": "close"}) from None
            is_whole = not message.get("more_body", False)
            return message

        return receive_in_time


class _Memory:
    """A number of bytes that requests share."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._given_back = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until so many bytes are free, and take them."""
        while size > self._free:
            self._given_back.clear()
            await self._given_back.wait()
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size
        self._given_back.set()
