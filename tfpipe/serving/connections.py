"""Connections whose clients take their time."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Closed unless the headers of its next request are whole within `headers_s` of their first byte.

    Of the first request, within `headers_s` of the connection. uvicorn waits for both for ever: it bounds only how long
    a connection is silent after an answer. The rest of a body that was refused counts as what it is not, the next
    request's headers, so that nobody keeps a connection with it either.
    """

    headers_s: float

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio has it."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._forget()
        elif self._end is None:
            self._end = self.loop.call_later(self.headers_s, self.timeout_keep_alive_handler)

    def _forget(self) -> None:
        if self._end:
            self._end.cancel()
        self._end = None


def connection_type(headers_s: float) -> type[Connection]:
    """For uvicorn, which makes one for each client."""
    return type("Connection", (Connection,), {"headers_s": headers_s})
