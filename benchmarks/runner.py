"""What the benchmarks share: programs that take turns, ratios within a round, tables, and the result as a JSON file.

A result contains all figures, and under "tables" the headings and rows that `python -m benchmarks.tables` copies into
the documentation.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import re
import shlex
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch

from common.arguments import CommandParser
from common.errors import InputError
from common.versions import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SPAWN = multiprocessing.get_context("spawn")

T = TypeVar("T")
Table = dict[str, Any]
Tables = dict[str, list[Table]]
"""The tables of a result by name; the documentation shows the parts of a table one below the other."""
Answer = Callable[[str], dict[str, Any]]
"""Carries out a request and returns what it measured."""
Start = Callable[[Any], Answer]
"""Loads a program for a task, warms it up and returns how it answers. It must be a function of a module (pickle)."""


class Program:
    """A program in a process of its own, so that it has its own peak memory. It waits between two requests."""

    def __init__(self, start: Start, task: Any, device: str, threads: int) -> None:
        self.connection, other_end = SPAWN.Pipe()
        arguments = (start, task, threads, other_end)
        self.process = SPAWN.Process(target=answer_requests, args=arguments, daemon=True)
        with mock.patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}):
            self.process.start()
        other_end.close()
        self.ready = self._receive()

    def ask(self, request: str) -> dict[str, Any]:
        """Return the answer to a request. Raises InputError if the program has ended."""
        self.connection.send(request)
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join()

    def _receive(self) -> dict[str, Any]:
        try:
            return dict(self.connection.recv())
        except EOFError:
            self.process.join()
            raise InputError(
                f"a program ended with status {self.process.exitcode}; its error is printed above"
            ) from None


def answer_requests(start: Start, task: Any, threads: int, connection: Connection) -> None:
    """Answer requests until the other end of the connection is closed."""
    torch.set_num_threads(threads)
    answer = start(task)
    connection.send({"ready": True})
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(answer(request))


@contextmanager
def running(tasks: Mapping[str, tuple[Start, Any]], device: str, threads: int) -> Iterator[dict[str, Program]]:
    """Start a program for each task, and end them all."""
    with ExitStack() as stack:
        programs = {}
        for name, (start, task) in tasks.items():
            programs[name] = Program(start, task, device, threads)
            stack.callback(programs[name].close)
        yield programs


def take_turns(measures: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call every function once per round, so that other load on the machine slows all of them."""
    results: dict[str, list[T]] = {name: [] for name in measures}
    for _, (name, measure) in itertools.product(range(rounds), measures.items()):
        results[name].append(measure())
    return results


def seconds_of(work: Callable[[], object], device: str = "cpu") -> float:
    """Return the seconds of one call, until the device has finished."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def time_in_turn(work: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return the seconds of every function in `rounds` rounds, after a round as a warm-up."""
    measured = take_turns({name: partial(seconds_of, call, device) for name, call in work.items()}, rounds + 1)
    return {name: seconds[1:] for name, seconds in measured.items()}


@contextmanager
def timed_calls(stages: Mapping[tuple[Any, str], str]) -> Iterator[dict[str, float]]:
    """Sum the seconds of calls inside the block by stage; `stages` maps (module or class, function) to a stage. If one
    timed function calls another, its own seconds do not include the other's."""
    spent: dict[str, float] = defaultdict(float)

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started, before = time.perf_counter(), sum(spent.values())
            returned = function(*arguments)
            spent[stage] += time.perf_counter() - started - (sum(spent.values()) - before)
            return returned

        return call

    with ExitStack() as patches:
        for (owner, name), stage in stages.items():
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), stage)))
        yield spent


def synchronise(device: str) -> None:
    """Wait until the GPU has finished."""
    if device == "cuda":
        torch.cuda.synchronize()


def memory_mb(field: str) -> float:
    """Return a field of this process's memory in MB: VmRSS is the present size, VmHWM the peak."""
    status = Path("/proc/self/status").read_text()  # getrusage's peak would be at least the parent's
    return int(status.split(field + ":")[1].split()[0]) / 1e3


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    """Return the quotients of two series that were measured in the same rounds."""
    return [a / b for a, b in zip(dividends, divisors, strict=True)]


def spread(values: Sequence[float], digits: int = 3) -> list[float]:
    """Return median, minimum and maximum."""
    return [round(pick(values), digits) for pick in (statistics.median, min, max)]


def compare_speeds(speeds: Mapping[str, Sequence[float]], reference: str, of_reference: bool) -> dict[str, Any]:
    """Return the speed of each program in every round, its median, and the speed-up in the same round (median, minimum,
    maximum): of the reference over the program, or else of the program over the reference."""
    base = speeds[reference]
    return {
        name: {
            "tokens_per_second": [round(speed, 1) for speed in own],
            "median": round(statistics.median(own), 1),
            "speed_up": spread(ratios(base, own) if of_reference else ratios(own, base)),
        }
        for name, own in speeds.items()
    }


def show_spread(three: Sequence[float], form: str = ".2f") -> str:
    """Return median, minimum and maximum as text."""
    middle, low, high = (format(value, form) for value in three)
    return f"{middle} ({low} to {high})"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> Table:
    """Return a part of a table: its rows as text, and a note that follows it."""
    shown = [[str(cell) for cell in row] for row in rows]
    if any(len(row) != len(headings) for row in shown):
        raise ValueError(f"a row has another number of cells than {headings}")
    return {"headings": list(headings), "rows": shown, "note": note}


def about_machine(result: Mapping[str, Any]) -> str:
    """Return GPU or CPU, number of cores and PyTorch's version."""
    machine = result["machine"]
    return f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, torch {machine['versions']['torch']}"


def command_line(
    description: str | None, rounds: int = 0, threads: int = 0, device: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with --smoke-test and, with these defaults, --rounds and --threads; `device` adds --device and
    --out."""
    parser = CommandParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="run at the smallest size; write no file")
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each program (default: {rounds})")
    if threads:
        parser.add_argument("--threads", type=int, default=threads, help=f"threads of PyTorch (default: {threads})")
    if device:
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
        parser.add_argument("--out", type=Path, help="folder of the result (default: benchmarks/results)")
    return parser


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        yield Path(folder)


def new_result(**fields: Any) -> dict[str, Any]:
    """Return a result that begins with the command and the machine. Absolute paths lose their folders, since results
    are published."""
    program = Path(sys.argv[0])
    module = ".".join([*program.parent.parts[len(ROOT.parts) :], program.stem])
    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    command = shlex.join(["python", "-m", module, *words])
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"command": command, "machine": describe_machine(gpu), **fields}


def save(
    name: str, result: dict[str, Any], tables: Tables, *, smoke_test: bool = False, folder: Path | None = None
) -> None:
    """Print a result with its tables; write it to `<folder>/<name>.json`; a smoke test only to a given folder."""
    print(dump({**result, "tables": tables}), end="", flush=True)
    write(name, result, tables, smoke_test=smoke_test, folder=folder)


def write(name: str, result: dict[str, Any], tables: Tables, *, smoke_test: bool, folder: Path | None) -> None:
    """Write what is measured so far, as `save` does, without printing it: a stopped run keeps it."""
    if folder is None and smoke_test:
        return
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.new"
    unfinished.write_text(dump({**result, "tables": tables}), encoding="utf-8")
    unfinished.replace(folder / f"{name}.json")


def dump(result: dict[str, Any]) -> str:
    """Return a result as JSON; a list of numbers or strings is one line."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    flat = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")
    return flat.sub(lambda match: "[" + re.sub(r"\n\s+", " ", match[1]) + "]", text)


def say(text: str) -> None:
    """Print progress at once; a benchmark takes minutes."""
    print(text, file=sys.stderr, flush=True)
