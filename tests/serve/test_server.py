"""The command: one sentence for a mistake, and a process that answers on a free port until it is stopped."""

import importlib
import json
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest

from benchmarks.server_process import running_server
from common.errors import InputError
from serve.limits import Limits
from serve.options import read_keys
from serve.packages import check_packages
from serve.server import address, is_loopback, listen
from tests.tiny_model import TEXT
from transformer import serve


def test_process_answers_accepted_request_and_ends(folder: Path) -> None:
    body = urlencode({"q": "\n".join(TEXT[:3]), "source": "en", "target": "de", "api_key": "k3y"}).encode()
    head = (
        "POST /translate?api_key=k3y HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with running_server("--model", str(folder), "--max-extra", "4") as server:
        with urllib.request.urlopen(f"{server.url}/languages") as answer:
            assert [language["code"] for language in json.load(answer)] == ["de", "en"]
        with socket.create_connection(("127.0.0.1", server.port), 30) as client:
            client.sendall(head.encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 100")  # the request is accepted, and its body awaited
            server.process.send_signal(signal.SIGTERM)
            client.sendall(body)
            received = b"".join(iter(lambda: client.recv(65536), b""))
        assert server.wait(30) == 0
    log = "".join(server.log)
    assert len(json.loads(received.partition(b"\r\n\r\n")[2])["translatedText"].split("\n")) == 3
    assert "POST /translate 200" in log
    assert not any(word in log for word in ("k3y", "Traceback", TEXT[0], str(folder)))


def test_port_in_use_is_reported_in_one_sentence(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with listen("127.0.0.1", 0) as used:
        port = used.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["serve", "--model", str(folder), "--port", str(port)])
        with pytest.raises(InputError, match=f"another program uses port {port}. Give another port, for example"):
            serve.main()


def test_address_that_is_not_of_this_machine_is_reported() -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1: .*Give an address of this machine"):
        listen("192.0.2.1", 0)


def test_address_of_socket_is_a_url() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert address(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert is_loopback(sock)
    if socket.has_ipv6:
        with listen("::1", 0) as sock:
            assert address(sock).startswith("http://[::1]:")


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_invalid_port_ends_command(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", f"--port={port}"])
    with pytest.raises(SystemExit) as end:
        serve.parse_args()
    assert end.value.code == 2


@pytest.mark.parametrize("origin", ["*", "example.org", "https://example.org/"])
def test_invalid_origin_ends_command(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--allow-origin", origin])
    with pytest.raises(SystemExit) as end:
        serve.parse_args()
    assert end.value.code == 2


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    check_packages()
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(InputError, match=r"fastapi is not installed.*pip install fastapi uvicorn python-multipart"):
        check_packages()


def test_keys_come_from_options_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one\n\n two \n")
    monkeypatch.setattr(sys, "argv", ["serve", "--api-key", "three", "--api-key-file", str(tmp_path / "keys")])
    assert read_keys(serve.parse_args()) == ["three", "one", "two"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"characters": 0}, "--char-limit is 0"),
        ({"queue": 0}, "--queue is 0"),
        ({"batch": 0}, "--batch-requests is 0"),
        ({"seconds": float("nan")}, "--timeout is nan"),
    ],
)
def test_limit_out_of_range_is_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits(**limits)  # type: ignore[arg-type]
