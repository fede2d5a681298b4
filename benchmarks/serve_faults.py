"""Test what the translation server does with clients that are slow, too many or too large, and when it is stopped.

    python -m benchmarks.serve_faults

Starts `python -m transformer.serve` with the included models three times. Other requests must be answered meanwhile,
and the log must have neither texts, API keys, paths nor tracebacks. Writes benchmarks/results/serve_faults.json; the
exit status is 1 if something is not as expected. With --smoke-test nothing is written.
"""

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, say, table, temporary_folder
from benchmarks.server_process import Server, running_server
from common.command import run_command

KEY = "a-secret-key"
TEXT = "Where is the station?"
HEAD = "POST /translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
FIELDS = f"source=en&target=de&api_key={KEY}&q="
LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (GET|POST) [/\w{}()]+( path\))? \d{3}, \d+ ms\n|http://\S+ translates .*\n|"
                  r"\d{4}-\d\d-\d\d [\d:,]+ Invalid HTTP request received\.\n")  # fmt: skip
"""What the log may have."""

LATE = 3.0
"""Seconds by which an answer may be late."""


class Case(NamedTuple):
    """What was done, and what came of it."""

    fault: str
    result: str
    expected: bool


def main() -> None:
    """Run the cases and save the result."""
    args = command_line(__doc__).parse_args()
    cases, log = [], []
    with temporary_folder() as folder:
        (folder / "keys").write_text(KEY)
        for group, options in ((slow_and_large, ()), (full_queue, ("--queue", "4")), (stopped, ())):
            with running_server("--api-key-file", str(folder / "keys"), *options) as server:
                for case in asyncio.run(group(server)):
                    say(f"{case.fault}: {case.result}")
                    cases.append(case)
                server.process.send_signal(signal.SIGTERM)
                server.wait(60)
                log += server.log
        cases.append(check_log(log, folder))
    result = new_result(cases=[case._asdict() for case in cases], unexpected=sum(not case.expected for case in cases))
    save("serve_faults", result, make_tables(result), smoke_test=args.smoke_test)
    if result["unexpected"]:
        sys.exit(1)


async def slow_and_large(server: Server) -> list[Case]:
    """Return the cases of connections that send too little or too much; other requests are answered meanwhile."""
    busy = asyncio.create_task(translate_until_cancelled(server.port))
    body = (FIELDS + TEXT).encode()
    size = 10**7
    head = f"{HEAD}Content-Length: "
    declared = f"{head}{len(body)}\r\n\r\n".encode()
    chunk = b"10000\r\n" + b"q" * 65536 + b"\r\n"
    faults = {
        "200 connections that send nothing": (nothing(server.port, 200), "closed", 10),
        "half a head, then nothing": (send(server.port, HEAD.encode()), "closed", 10),
        "half a body, then nothing": (send(server.port, declared + body[:20]), "408", 10),
        "a body of 1 byte per second": (drip(server.port, declared, body), "408", 10),
        "a body of 10 MB": (send(server.port, f"{head}{size}\r\n\r\n".encode(), b"q" * size), "413", 0),
        "10 MB without a declared size": (
            send(server.port, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, size // 65536), "413", 0,
        ),
        "bytes that are not HTTP": (send(server.port, b"\x16\x03\x01 hello\r\n\r\n"), "400", 0),
    }  # fmt: skip
    found = await asyncio.gather(*(fault for fault, _, _ in faults.values()))
    busy.cancel()
    answers = await busy
    cases = [
        Case(fault, f"{answer} after {seconds:.0f} s", answer == expected and least <= seconds < least + LATE)
        for (fault, (_, expected, least)), (answer, seconds) in zip(faults.items(), found, strict=True)
    ]
    others = f"{answers[200]} of {answers.total()} answered"
    return [*cases, Case("other requests meanwhile", others, set(answers) == {200})]


async def send(port: int, head: bytes, body: bytes = b"", times: int = 1) -> tuple[str, float]:
    """Return status and seconds of the answer to some bytes, or until the connection is closed."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write() -> None:
        with suppress(OSError):
            writer.write(head)
            for _ in range(times if body else 0):
                writer.write(body)
                await writer.drain()

    writing = asyncio.create_task(write())
    answer = await reader.read(1000)
    writing.cancel()
    writer.close()
    return describe(answer), time.monotonic() - started


async def drip(port: int, head: bytes, body: bytes) -> tuple[str, float]:
    """Return status and seconds of the answer to a body whose bytes come one per second."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    reading = asyncio.create_task(reader.read(1000))
    for n in range(len(body)):
        writer.write(body[n : n + 1])
        if await asyncio.wait({reading}, timeout=1) != (set(), {reading}):
            break
    writer.close()
    return describe(reading.result()), time.monotonic() - started


async def nothing(port: int, count: int) -> tuple[str, float]:
    """Return what happens to connections that send nothing, and the largest time until then."""
    found = await asyncio.gather(*(send(port, b"") for _ in range(count)))
    return " and ".join(sorted({answer for answer, _ in found})), max(seconds for _, seconds in found)


def describe(answer: bytes) -> str:
    """Return the status of an answer."""
    return answer.split()[1].decode() if answer else "closed"


async def translate(port: int) -> tuple[int, dict[str, str], Any]:
    """Return status, head and JSON of a translation. Raises OSError or EOFError if there is no answer."""
    body = (FIELDS + TEXT.replace(" ", "+")).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        head = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), head, json.loads(await reader.readexactly(int(head["content-length"])))
    finally:
        writer.close()


async def translate_until_cancelled(port: int) -> Counter[int]:
    """Return the statuses of one request after another."""
    statuses: Counter[int] = Counter()
    with suppress(asyncio.CancelledError):
        while True:
            statuses[(await translate(port))[0]] += 1
    return statuses


async def full_queue(server: Server) -> list[Case]:
    """Return the case of more requests than may wait."""
    found = await asyncio.gather(*(translate(server.port) for _ in range(64)))
    statuses = Counter(status for status, _, _ in found)
    refused = [head for status, head, _ in found if status == 429]
    waits = all(int(head["retry-after"]) >= 1 for head in refused)
    translated = {answer["translatedText"] for status, _, answer in found if status == 200}
    return [
        Case(
            "64 requests at once, of which 4 may wait",
            f"{statuses[200]} answered, {statuses[429]} times 429 with Retry-After",
            statuses.total() == statuses[200] + statuses[429] and waits and len(refused) > 0 and len(translated) == 1,
        )
    ]


async def stopped(server: Server) -> list[Case]:
    """Return the case of a server that is stopped while 32 clients send one request after another."""
    statuses: Counter[str] = Counter()
    signalled: list[float] = []

    async def use() -> None:
        while True:
            started = time.monotonic()
            try:
                statuses[str((await translate(server.port))[0])] += 1
            except (OSError, EOFError):
                statuses["lost" if not signalled or started < signalled[0] else "refused"] += 1
                return

    users = [asyncio.create_task(use()) for _ in range(32)]
    await asyncio.sleep(3)
    signalled.append(time.monotonic())
    server.process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(server.wait, 60)
    seconds = time.monotonic() - signalled[0]
    await asyncio.gather(*users)
    return [
        Case(
            "SIGTERM while 32 clients translate",
            f"{statuses['200']} requests answered, {statuses['lost']} lost; exit status {status} after {seconds:.0f} s",
            status == 0 and set(statuses) <= {"200", "refused"},
        )
    ]


def check_log(log: list[str], folder: Path) -> Case:
    """Return the case of what the log contains."""
    secrets = (KEY, TEXT, str(ROOT), str(folder), "Traceback")
    other = [line for line in log if not LINE.fullmatch(line) or any(secret in line for secret in secrets)]
    for line in other:
        say(f"in the log: {line.rstrip()}")
    return Case(
        "log of all these servers",
        f"{len(log)} lines, {len(other)} of them not method, route, status and time",
        not other,
    )


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each case."""
    rows = [(case["fault"], case["result"]) for case in result["cases"]]
    note = f"Both included models; `{result['command']}`; {about_machine(result)}."
    return {"serve_faults": [table(("fault", "result"), rows, note)]}


if __name__ == "__main__":
    run_command(main)
