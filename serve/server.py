"""Listen on a port, and run the application until a signal stops it."""

import errno
import ipaddress
import logging
import os
import signal
import socket
import sys

import uvicorn
from fastapi import FastAPI

from common.errors import InputError
from serve.connections import Connection
from serve.limits import Limits


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections; port 0 is any free one. Raises InputError if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"another program uses port {port}. Give another port, for example --port {port % 65535 + 1}"
        elif error.errno == errno.EACCES:
            problem = f"only root may use port {port}. Give a port from 1024 on, for example --port 5000"
        else:
            problem = f"{error.strerror or error}. Give an address of this machine, for example --host 127.0.0.1"
        raise InputError(f"the server cannot listen on {host}: {problem}") from error


def address(sock: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(sock: socket.socket) -> bool:
    """Return True if only programs of this machine can connect to a socket."""
    return ipaddress.ip_address(sock.getsockname()[0]).is_loopback


def run(app: FastAPI, sock: socket.socket, limits: Limits) -> None:
    """Answer requests until SIGINT or SIGTERM. Requests that were accepted before are still answered."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, http=Connection, ws="none", lifespan="on",
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn sends the signal again when it has stopped
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[sock])


def log_to_stderr() -> None:
    """Write a line for each request to standard error; tracebacks only with TRANSFORMER_DEBUG=1."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(__name__.rpartition(".")[0]).setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings are answered with status 400


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if not os.environ.get("TRANSFORMER_DEBUG"):
            record.exc_info = record.exc_text = None
        return super().format(record)
