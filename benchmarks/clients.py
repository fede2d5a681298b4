"""Translate with published clients of LibreTranslate, unchanged, and record what they send and get.

    python -m benchmarks.clients

Installs the clients from PyPI and npm in a temporary folder, starts `python -m transformer.serve` with the included
models, and starts each client as a program of its own (benchmarks/programs/libretranslate_clients.py and .mjs). It
needs a network, node and npm. Writes benchmarks/results/clients.json. With --smoke-test, only the first client is used,
and nothing is written.
"""

import http.client
import json
import subprocess
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table, temporary_folder
from benchmarks.server_process import running_server
from common.command import run_command
from common.errors import InputError

PYTHON = {"libretranslatepy": "2.1.4", "deep-translator": "1.11.4", "libretranslate-aio": "0.1.3"}
NODE = {"translate": "3.1.0", "libretranslate": "1.0.1"}
PROGRAM = ROOT / "benchmarks/programs/libretranslate_clients"
SECONDS = 300
"""Largest time of an installation."""


def main() -> None:
    """Install and use the clients, and save the record."""
    args = command_line(__doc__).parse_args()
    python, node = (dict(list(PYTHON.items())[:1]), {}) if args.smoke_test else (PYTHON, NODE)
    rows = []
    with temporary_folder() as folder, running_server() as server:
        for name, command in install(folder, python, node).items():
            with recording(server.port) as (url, requests):
                returned = json.loads(run([*command, name, url], folder))
            version = (PYTHON | NODE)[name]
            rows.append({"client": name, "version": version, "returned": returned, "requests": requests})
    result = new_result(rows=rows)
    save("clients", result, make_tables(result), smoke_test=args.smoke_test)


def install(folder: Path, python: dict[str, str], node: dict[str, str]) -> dict[str, list[str]]:
    """Install the clients; return the command that starts the program of each."""
    venv.create(folder / "venv", with_pip=True)
    interpreter = str(folder / "venv/bin/python")
    run([interpreter, "-m", "pip", "install", "--quiet", *(f"{name}=={version}" for name, version in python.items())])
    if node:
        packages = [f"{name}@{version}" for name, version in node.items()]
        run(["npm", "install", "--prefix", str(folder), "--silent", *packages], folder)
    return {name: [interpreter, f"{PROGRAM}.py"] for name in python} | {
        name: ["node", f"{PROGRAM}.mjs"] for name in node
    }


def run(command: list[str], folder: Path = ROOT) -> str:
    """Return what a program prints. Raises InputError if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True)
    except FileNotFoundError as error:
        raise InputError(f"{command[0]} is not installed, and clients need it") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        raise InputError(f"{Path(command[0]).name} failed: {lines[-1]}") from error
    return done.stdout


@contextmanager
def recording(port: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Forward requests to a server on this machine. Yields the address for the client, and the record of requests."""
    requests: list[dict[str, Any]] = []

    class Forwarder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            requests.append(describe(self, body, answer.status, content))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = forward

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarder) as forwarder:
        thread = threading.Thread(target=forwarder.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{forwarder.server_address[1]}", requests
        forwarder.shutdown()
        thread.join()


def describe(request: BaseHTTPRequestHandler, body: bytes, status: int, answer: bytes) -> dict[str, Any]:
    """Return what a client sent and got."""
    return {
        "request": f"{request.command} {request.path}",
        "content_type": request.headers.get("Content-Type"),
        "body": body.decode(),
        "status": status,
        "answer": json.loads(answer),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the first translation of each client."""
    rows = []
    for row in result["rows"]:
        sent = next(found for found in row["requests"] if "/translate" in found["request"])
        answers = [found["status"] for found in row["requests"]]
        kind = {"application/json": "JSON", "application/x-www-form-urlencoded": "form"}.get(sent["content_type"])
        fields = sent["body"] or urlsplit(sent["request"]).query
        answered = f"{answers.count(200)} of {len(answers)}"
        client = f"{row['client']} {row['version']}"
        rows.append((client, kind or "query string", f"`{fields}`", sent["answer"]["translatedText"], answered))
    headings = ("client", "sends", "fields of its first translation", "answer", "requests with status 200")
    note = f"Both included models; `{result['command']}`; {about_machine(result)}."
    return {"clients": [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
