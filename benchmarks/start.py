"""Measure how long commands take from their start: the help, the imports, and a first translation.

    python -m benchmarks.start

Each command is a new process of this checkout, on one thread, with its files in the cache of the operating system. The
commands take turns. Writes benchmarks/results/start.json; with --smoke-test, one turn, and nothing is written.
"""

import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table, take_turns
from common.command import run_command

COMMANDS = {
    "help": ("-m", "transformer.translate", "--help"),
    "version": ("-m", "paper_transformer", "--version"),
    "import torch": ("-c", "import torch"),
    "import Translator": ("-c", "from paper_transformer import Translator"),
    "first translation": ("-m", "transformer.translate", "Where is the station?"),
    "first translation, de to en": ("-m", "transformer.translate", "--from", "de", "Wo ist der Bahnhof?"),
}


def main() -> None:
    """Measure and save."""
    args = command_line(__doc__, rounds=7, threads=1).parse_args()
    measures = {name: partial(measure, words, args.threads) for name, words in COMMANDS.items()}
    rounds = 1 if args.smoke_test else args.rounds
    found = take_turns(measures, rounds + 1)
    rows = [row(name, seconds[1:]) for name, seconds in found.items()]  # the first turn reads the files from the disk
    result = new_result(rounds=rounds, threads=args.threads, rows=rows)
    save("start", result, make_tables(result), smoke_test=args.smoke_test)


def measure(words: Sequence[str], threads: int) -> tuple[float, float]:
    """Return the seconds of a command from its start to its end, and the seconds of the CPU that it used."""
    before, started = cpu_seconds(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started, cpu_seconds() - before


def cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(name: str, seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the medians of a command."""
    wall, cpu = ([pair[i] for pair in seconds] for i in (0, 1))
    return {
        "name": name,
        "command": shlex.join(("python", *COMMANDS[name])),
        "seconds": [round(value, 3) for value in wall],
        "median": round(statistics.median(wall), 2),
        "least": round(min(wall), 2),
        "cpu_seconds": round(statistics.median(cpu), 2),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each command."""
    rows = [
        [f"`{own['command']}`", f"{own['median']:.2f}", f"{own['least']:.2f}", f"{own['cpu_seconds']:.2f}"]
        for own in result["rows"]
    ]
    headings = ["command", "seconds: median", "least", "CPU seconds: median"]
    note = f"{about_machine(result)}; {result['threads']} thread, {result['rounds']} turns."
    return {"start": [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
