"""Start training commands on CPUs, with and without `accelerate launch`, and watch them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import experiments
from benchmarks.runner import ROOT
from common.errors import InputError
from common.settings import last_overrides

TINY = (
    *("data.train=grammar", "data.grammar_pairs=2000", "data.vocab_size=400", "data.max_length=40"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64"),
    *(
        "batches.tokens_per_update=1600",
        "batches.buckets=8",
        "train.threads=1",
        "train.log_every=1",
        "train.log_with=none",
    ),
)
"""A run of seconds."""
LIMIT = 1200
"""Seconds after which a command is ended as hanging."""
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
                      "TRANSFORMER_DEBUG")  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment of a training command on CPUs."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    return kept | {"ACCELERATE_USE_CPU": "true"}


def training_command(settings: Sequence[str], ranks: int = 1, change: str = "") -> list[str]:
    """Return a command that trains with `ranks` processes. `change` is one of benchmarks/experiments.py."""
    program = ["-m", experiments.__name__, change] if change else ["train/train.py"]
    settings = last_overrides(settings)
    if ranks == 1:
        return [sys.executable, *program, *settings]
    options = ["--multi_gpu", "--num_processes", str(ranks), "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *program, *settings]


def train(name: str, settings: Sequence[str], ranks: int = 1, change: str = "") -> None:
    """Train to the end. Raises InputError if the command fails or has another number of ranks."""
    printed = run(training_command(settings, ranks, change=change), f"the run {name}")
    if f"{ranks} x cpu" not in printed:
        raise InputError(f"the run {name} did not start {ranks} ranks")


def run(command: Sequence[str], name: str) -> str:
    """Run a command to its end and return what it prints. Raises InputError with the end of its errors if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise InputError(f"{name} ended with status {done.returncode}: {' '.join(done.stderr[-600:].split())}")
    return done.stdout


@contextmanager
def started(command: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its errors in a file, and end it at the end of the block."""
    with errors.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=file)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(LIMIT)


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Process(Protocol):
    """A process of a rank: `subprocess.Popen`, or a forked one in the tests."""

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs, negative if a signal ended it."""
        ...


@dataclass
class Ranks:
    """The processes of one training command. `folder` contains `rank<r>.out` and `rank<r>.err`."""

    processes: list[Process]
    group: int
    folder: Path
    since: int
    """Time of the start in nanoseconds since the epoch."""

    def running(self) -> bool:
        """Return False as soon as a process has ended."""
        return all(process.poll() is None for process in self.processes)

    def step(self) -> int:
        """Return the last update in the log, or 0."""
        found = re.findall(r"^step +(\d+) ", (self.folder / "rank0.out").read_text(), re.MULTILINE)
        return int(found[-1]) if found else 0

    def watch(self, condition: Callable[[], bool], pause: float = 0.0005) -> None:
        """Wait until `condition` is true or a process has ended."""
        while self.running() and not condition():
            time.sleep(pause)

    def kill(self) -> None:
        """Send SIGKILL to all processes at once."""
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:
            return
        while any(process.poll() is None for process in self.processes):
            time.sleep(0.001)

    def wait(self, limit: float = 300) -> int:
        """Return the exit status. If a process fails, end the others, as a launcher does.

        Raises InputError if the processes have not ended after `limit` seconds.
        """
        until = time.monotonic() + limit
        while None in (ended := [process.poll() for process in self.processes]):
            if any(ended) or time.monotonic() > until:
                self.kill()
            if time.monotonic() > until:
                raise InputError(f"a run has not ended after {limit} seconds; its output is in {self.folder}")
            time.sleep(0.005)
        return next((status for status in ended if status), 0)

    def messages(self) -> str:
        """Return what rank 0 printed to standard error, without progress bars."""
        lines = (self.folder / "rank0.err").read_text().splitlines()
        return "\n".join(line for line in lines if "\r" not in line and "it/s]" not in line and "/s]" not in line)


StartRanks = Callable[[Sequence[str], Path, int], Ranks]
"""Starts a run from its settings, the working directory and the number of ranks."""


def start_ranks(settings: Sequence[str], folder: Path, ranks: int) -> Ranks:
    """Start `python train/train.py <settings>` for each rank, all in one process group."""
    since = time.time_ns()
    processes: list[subprocess.Popen[bytes]] = []
    for rank, variables in enumerate(rank_environments(ranks)):
        with (folder / f"rank{rank}.out").open("w") as out, (folder / f"rank{rank}.err").open("w") as err:
            command = [sys.executable, str(ROOT / "train/train.py"), *last_overrides(settings)]
            group = processes[0].pid if processes else 0
            processes.append(
                subprocess.Popen(command, cwd=folder, env=variables, stdout=out, stderr=err, process_group=group)
            )
    return Ranks(list(processes), processes[0].pid, folder, since)


def rank_environments(ranks: int) -> list[dict[str, str]]:
    """Return the environment that a launcher sets for each rank, on CPUs and with a free port."""
    if ranks == 1:
        return [environment()]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    return [environment() | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def run_to_end(start: StartRanks, folder: Path, settings: Sequence[str], ranks: int = 1) -> Ranks:
    """Start a run and wait for it. Raises InputError with the last line of its errors if it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    run = start(settings, folder, ranks)
    try:
        status = run.wait()
    finally:
        run.kill()
    if status:
        last = (run.messages().splitlines() or ["nothing"])[-1]
        raise InputError(f"a run in {folder.name} ended with status {status} and printed: {last}")
    return run
