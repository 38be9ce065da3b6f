"""Bound the connections of the sandbox server, and the time that a silent one is kept.

    uvicorn.Config(app, http=BoundedConnection, limit_concurrency=1000)

uvicorn counts connections only when a request has arrived, and waits for ever for the first one.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_SECONDS = 60.0
"""How long a connection may take to send a request's headers, to finish a request that has been answered already, and
to take the last answer."""


class BoundedConnection(H11Protocol):
    """A connection that is cut if there are too many, or if its client is silent or slow.

    h11, which Python's other parsers outrun, also bounds a request's headers (64 kB).
    """

    patience_seconds = PATIENCE_SECONDS
    _cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Accept the connection, unless `limit_concurrency` are open."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            transport.abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        super().connection_lost(exc)
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; slow bytes do not start the time anew."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Let the time run while it is the client's turn. The application itself limits the time for a body."""
        state = self.conn.their_state
        is_answered = self.cycle is None or self.cycle.response_complete
        if state is not h11.IDLE and not (state is h11.SEND_BODY and is_answered):
            self._stop_timer()
        elif self._cut is None:
            self._cut = self.loop.call_later(self.patience_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
