"""Connections of clients: no delay of small answers, and an end for clients that send no request."""

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.limits import READ_SECONDS

LAST_SECONDS = 0.5
"""Time for which a server that stops accepts requests on open connections, which may have been sent before."""
CLOSE_HEADER = (b"connection", b"close")


class Connection(H11Protocol):
    """A connection that is closed if no complete head of a request arrives in `READ_SECONDS`.

    uvicorn itself waits without end for the first request, and for the rest of a head that has begun.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Send every part of an answer at once: the rest of an answer would else wait 40 ms for the client."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watching()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after its next answer, or if no request comes that may be on its way."""
        if CLOSE_HEADER not in self.server_state.default_headers:
            self.server_state.default_headers.append(CLOSE_HEADER)
        self.loop.call_later(LAST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _watch(self) -> None:
        """Start the timer while a request is awaited, and stop it when its head is there."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watching()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(READ_SECONDS, self.timeout_keep_alive_handler)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP, or only close the connection if an answer has begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = b'{"error":"Invalid request: this is not HTTP"}'
        headers = [
            ("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")
        ]  # fmt: skip
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
