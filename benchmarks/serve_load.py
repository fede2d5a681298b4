"""Measure the translation server under load: requests per second, latency, lost requests, and changed answers.

    python -m benchmarks.serve_load

Starts `python -m transformer.serve` with the included models, with and without batches, and with each backend. First
one client asks for the translation of each sentence of `TEXTS` alone, then 32 clients ask at the same time for 60
seconds. Each client sends the next request when it has its answer. Server and clients share the machine. Writes
benchmarks/results/serve_load.json. With --smoke-test, 8 clients ask for 2 seconds, and nothing is written.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, say, table
from benchmarks.server_process import Server, running_server
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.test_sets import SENTENCES

BACKENDS = ("torch", "ctranslate2")
BATCHES = (32, 1)
TEXTS = (SENTENCES / "everyday.en", ROOT / "benchmarks/sentences/protected.en")
WARM_UP = 20


@dataclass
class Load:
    """Answers to all clients."""

    seconds: list[float] = field(default_factory=list)
    translations: list[tuple[str, str]] = field(default_factory=list)
    """Sentences and their translations."""
    lost: list[str] = field(default_factory=list)
    """What was wrong with requests that were not answered with status 200."""


def main() -> None:
    """Measure each server and save the result."""
    parser = command_line(__doc__, threads=2)
    parser.add_argument("--clients", type=int, default=32, help="clients at the same time (default: 32)")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the load (default: 60)")
    args = parser.parse_args()
    clients, seconds = (8, 2.0) if args.smoke_test else (args.clients, args.seconds)
    lines = [line for file in TEXTS for line in read_all_lines(file)]
    rows = []
    for backend in BACKENDS:
        for batch in BATCHES:
            options = ("--backend", backend, "--batch-requests", str(batch))
            say(f"python -m transformer.serve {' '.join(options)}")
            with running_server(*options, threads=args.threads) as server:
                found = asyncio.run(measure(server, lines[:40] if args.smoke_test else lines, clients, seconds))
            rows.append({"backend": backend, "batch": batch, **found})
    result = new_result(threads=args.threads, clients=clients, seconds=seconds, sentences=len(lines), rows=rows)
    save("serve_load", result, make_tables(result), smoke_test=args.smoke_test)


async def measure(server: Server, lines: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one client and of many clients."""
    await ask(server.port, iter(lines[:WARM_UP]), Load())
    alone, load = Load(), Load()
    await ask(server.port, iter(lines), alone)
    started = time.monotonic()
    await asyncio.gather(*(ask(server.port, draw(lines, n, started + seconds), load) for n in range(clients)))
    spent = time.monotonic() - started
    expected = dict(alone.translations)
    changed = [pair for pair in load.translations if expected.get(pair[0]) != pair[1]]
    return {
        "alone": figures(alone, sum(alone.seconds)),
        "load": figures(load, spent),
        "lost": alone.lost + load.lost,
        "changed_answers": len(changed),
        "changed_sentences": sorted({source for source, _ in changed}),
    }


def draw(lines: list[str], seed: int, end: float) -> Iterator[str]:
    """Yield random lines until the time is over."""
    generator = random.Random(seed)
    while time.monotonic() < end:
        yield generator.choice(lines)


async def ask(port: int, lines: Iterator[str], load: Load) -> None:
    """Translate lines one after another over one connection, and record the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for line in lines:
        body = json.dumps({"q": line, "source": "en", "target": "de"}).encode()
        head = "POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        started = time.perf_counter()
        try:
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            status, answer = await read_answer(reader)
        except (OSError, EOFError) as error:
            load.lost.append(type(error).__name__)
            break
        if status == 200:
            load.seconds.append(time.perf_counter() - started)
            load.translations.append((line, answer["translatedText"]))
        else:
            load.lost.append(f"status {status}")
    writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Return status and JSON of an answer. Raises EOFError if it is not complete."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def figures(load: Load, seconds: float) -> dict[str, Any]:
    """Return rate and latencies of the answers."""
    percentiles = statistics.quantiles(load.seconds, n=100, method="inclusive")
    return {
        "requests": len(load.seconds),
        "per_second": round(len(load.seconds) / seconds, 1),
        "p50_ms": round(1000 * percentiles[49], 1),
        "p99_ms": round(1000 * percentiles[98], 1),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the figures of each server."""
    rows = []
    for row in result["rows"]:
        for name, clients in (("alone", 1), ("load", result["clients"])):
            found = row[name]
            rows.append(
                (row["backend"], "off" if row["batch"] == 1 else "on", clients, f"{found['requests']:,}",
                 found["per_second"], found["p50_ms"], found["p99_ms"], len(row["lost"]) if name == "load" else "",
                 row["changed_answers"] if name == "load" else "")
            )  # fmt: skip
    headings = ("backend", "batches", "clients", "answers", "answers per second", "p50 (ms)", "p99 (ms)",
                "lost requests", "answers that differ from one client's")  # fmt: skip
    note = (
        f"{result['sentences']} English sentences; {result['clients']} clients for {result['seconds']:g} seconds on "
        f"the same machine as the server; `{result['command']}`; {result['threads']} threads; {about_machine(result)}."
    )
    return {"serve_load": [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
