"""Connections that send no request are closed, and answers are sent without delay."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from serve import connections
from serve.connections import Connection
from serve.server import listen

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """A server that waits 0.2 s for a request."""
    monkeypatch.setattr(connections, "READ_SECONDS", 0.2)
    app = FastAPI()
    app.get("/health")(lambda: "ok")
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, http=Connection, ws="none"))
    with listen("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        while not server.started:
            time.sleep(0.001)
        yield server
        server.should_exit = True
        thread.join()


def connect(server: uvicorn.Server) -> socket.socket:
    return socket.create_connection(server.servers[0].sockets[0].getsockname(), timeout=10)


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
def test_connection_without_complete_request_is_closed(server: uvicorn.Server, sent: bytes) -> None:
    with connect(server) as client:
        client.sendall(sent)
        assert client.recv(1000) == b""


def test_connection_stays_open_for_the_next_request(server: uvicorn.Server) -> None:
    with connect(server) as client:
        for _ in range(2):
            for part in (HEAD, b"\r\n"):
                client.sendall(part)
                time.sleep(0.12)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_connection_sends_small_answers_at_once(server: uvicorn.Server) -> None:
    with connect(server) as client:
        client.sendall(HEAD)
        while not server.server_state.connections:
            time.sleep(0.001)
        [connection] = server.server_state.connections
        connected = connection.transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_bytes_that_are_not_http_are_refused(server: uvicorn.Server) -> None:
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(1000), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body) == {"error": "Invalid request: this is not HTTP"}


def test_request_that_is_on_its_way_is_answered_when_server_stops(server: uvicorn.Server) -> None:
    with connect(server) as client, connect(server) as idle:
        while len(server.server_state.connections) < 2:
            time.sleep(0.001)
        server.should_exit = True
        while any(listening.sockets for listening in server.servers):  # until the server accepts no new connection
            time.sleep(0.001)
        client.sendall(HEAD + b"\r\n")
        received = b"".join(iter(lambda: client.recv(1000), b""))
        assert idle.recv(1000) == b""
    assert received.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in received
