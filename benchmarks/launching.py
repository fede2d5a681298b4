"""A small training run, started as people start it and killed like a machine that loses its power.

What benchmarks/faults.py and benchmarks/damage.py share: the run, its processes, and the comparison of two run folders.
"""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from common.errors import InputError
from data_pipeline.builtin.grammar import GrammarSplit, generate

ROOT = Path(__file__).resolve().parent.parent
STEPS = 37  # not a multiple of the spacing of checkpoints: the last one is of the kind `final`
SETTINGS = (
    *("data.train=[../train.en,../train.de]", "data.valid=[../valid.en,../valid.de]", "data.test=null"),
    *("data.vocab_size=400", "data.max_length=64", "data.cache_dir=../cache", "run_dir=run"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "model.dropout=0.1"),
    *("batches.tokens_per_update=1024", "batches.per_update=2", "schedule.warmup_steps=30", f"train.max_steps={STEPS}"),
    *("train.log_every=1", "validation.every=5", "validation.bleu_sentences=2", "train.log_with=tensorboard"),
    *("checkpoints.every=3", "checkpoints.keep=3", "checkpoints.average_last=2", "train.threads=1"),
)
"""Paths are relative to the folder that the command is started in, so two such folders must end up equal."""
PATIENCE = 300  # seconds that a start may take
NOT_COMPARED = ("timing.jsonl", "tensorboard", ".lock")  # hours and machines; the first two are compared otherwise


class Process(Protocol):
    """What is asked of the process of a rank."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs, negative where a signal ended it."""
        ...


@dataclass
class Ranks:
    """The processes of one start; `folder` is where they were started and holds `rank<r>.out` and `rank<r>.err`."""

    processes: list[Process]
    group: int
    folder: Path
    since: int
    """Nanoseconds since the epoch at the start."""

    def running(self) -> bool:
        """False as soon as one of them has ended."""
        return all(process.poll() is None for process in self.processes)

    def step(self) -> int:
        """The last update that this start has logged; 0 before the first."""
        found = re.findall(r"^step +(\d+) ", (self.folder / "rank0.out").read_text(), re.MULTILINE)
        return int(found[-1]) if found else 0

    def watch(self, condition: Callable[[], bool], pause: float = 0.0005) -> None:
        """Return when `condition` holds, or when one of them has ended."""
        while self.running() and not condition():
            time.sleep(pause)

    def kill(self) -> None:
        """SIGKILL to all of them at once."""
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:
            return
        while any(process.poll() is None for process in self.processes):
            time.sleep(0.001)

    def wait(self) -> int:
        """Their exit status. As under a launcher, one that fails takes the others with it.

        Raises ValueError where they have not ended after `PATIENCE` seconds.
        """
        until = time.monotonic() + PATIENCE
        while None in (ended := [process.poll() for process in self.processes]):
            if any(ended) or time.monotonic() > until:
                self.kill()
            if time.monotonic() > until:
                raise InputError(f"a start has not ended after {PATIENCE} seconds; its output is in {self.folder}")
            time.sleep(0.005)
        return next((status for status in ended if status), 0)

    def said(self) -> str:
        """What the first of them wrote to stderr, without bars of progress."""
        lines = (self.folder / "rank0.err").read_text().splitlines()
        return "\n".join(line for line in lines if "\r" not in line and "it/s]" not in line and "/s]" not in line)


Start = Callable[[tuple[str, ...], Path, int], Ranks]
"""From settings, the folder to start in and the number of ranks."""


def start_command(settings: tuple[str, ...], folder: Path, ranks: int) -> Ranks:
    """`python train/train.py <settings>` for each rank, all in one process group."""
    since = time.time_ns()
    processes: list[subprocess.Popen[bytes]] = []
    for rank, environment in enumerate(environments(ranks)):
        with (folder / f"rank{rank}.out").open("w") as out, (folder / f"rank{rank}.err").open("w") as err:
            processes.append(
                subprocess.Popen(
                    [sys.executable, str(ROOT / "train/train.py"), *settings],
                    cwd=folder,
                    env=environment,
                    stdout=out,
                    stderr=err,
                    process_group=processes[0].pid if processes else 0,
                )
            )
    return Ranks(list(processes), processes[0].pid, folder, since)


def environments(ranks: int) -> list[dict[str, str]]:
    """What a launcher sets for each rank: processors only, and a free port to meet at."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TRANSFORMER_DEBUG")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    clean |= {"ACCELERATE_USE_CPU": "true"}
    if ranks == 1:
        return [clean]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    size = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    return [clean | meeting | size | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def run_to_end(start: Start, folder: Path, ranks: int = 1, settings: tuple[str, ...] = SETTINGS) -> Ranks:
    """Start and wait. Raises ValueError with the last line of the error where the run fails."""
    folder.mkdir(parents=True, exist_ok=True)
    started = start(settings, folder, ranks)
    try:
        status = started.wait()
    finally:
        started.kill()
    if status:
        last = (started.said().splitlines() or ["nothing"])[-1]
        raise InputError(f"a start in {folder.name} ended with status {status} and said: {last}")
    return started


def write_corpus(folder: Path) -> None:
    """A few hundred pairs of the built-in corpus as text files, and the vocabulary's cache beside them later."""
    splits: tuple[tuple[GrammarSplit, int], ...] = (("train", 400), ("valid", 40))
    for split, count in splits:
        sources, targets = zip(*generate(split, count, seed=1), strict=True)
        (folder / f"{split}.en").write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
        (folder / f"{split}.de").write_text("".join(f"{line}\n" for line in targets), encoding="utf-8")


def differences(run: Path, undisturbed: Path) -> list[str]:
    """Every file that is not byte for byte that of the other run folder, and what TensorBoard shows otherwise."""
    ours, theirs = _files(run), _files(undisturbed)
    found = [f"{name} is missing" for name in sorted(theirs - ours)]
    found += [f"{name} is left over" for name in sorted(ours - theirs)]
    for name in sorted(ours & theirs):
        if (run / name).read_bytes() != (undisturbed / name).read_bytes():
            found.append(f"{name} differs")
    if _timed_steps(run) != _timed_steps(undisturbed):
        found.append("timing.jsonl has other updates")
    return found + tensorboard_differences(run)


def tensorboard_differences(run: Path) -> list[str]:
    """Where TensorBoard does not show each value of `metrics.jsonl` exactly once."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every restart that it finds
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    wanted: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for tag in line.keys() - {"step"}:
            wanted.setdefault(tag, []).append((line["step"], float(np.float32(line[tag]))))
    return [
        f"TensorBoard's {tag} is not that of metrics.jsonl"
        for tag in wanted | shown
        if shown.get(tag) != wanted.get(tag)
    ]


def _files(run: Path) -> set[str]:
    paths = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] not in NOT_COMPARED}


def _timed_steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "timing.jsonl").read_text().splitlines()]
