"""Compare updates and runs on different numbers of ranks, and test what happens if a rank dies.

    python -m benchmarks.ranks

runs the training command on the built-in corpus with a tiny model, on CPUs: 1, 2 and 4 ranks with three splits each,
in float64, in fp32, and with dropout; and ranks that are killed, stopped or fail. Writes benchmarks/results/ranks.json.
tests/train/test_distributed.py tests restarts, a changing number of ranks, and two launchers.
"""

import json
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # a dependency of accelerate
import torch
from safetensors.torch import load_file

from benchmarks import launch
from benchmarks.experiments import TIMEOUT
from benchmarks.launch import LIMIT, TINY, started, training_command
from benchmarks.run_logs import read_lines
from benchmarks.runner import Table, Tables, command_line, new_result, save, say, table
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline.micro_batches import PADDING_ROW, choose_split, most_positions
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.run.checkpoints import Checkpoints
from train.setup import Setup, make_setup

SETTINGS = (
    *TINY,
    *("batches.per_update=4", "schedule.warmup_steps=400"),
    *("validation.every=100000", "validation.bleu_sentences=0", "checkpoints.every=25"),
)
EXACT = ("train.precision=float64", "model.dropout=0.0")
WORLD_SIZES, SPLITS = (1, 2, 4), (1, 2, 4)
SHOWN = (1, 10, 50, 100, 200)
"""Updates for which the table shows the difference."""


@dataclass(frozen=True)
class Bench:
    """Folder of all runs, and their lengths."""

    folder: Path
    setup: Setup
    exact_updates: int
    fp32_updates: int
    fault_updates: int

    def settings(self, name: str, *overrides: str) -> list[str]:
        """Return the settings of the run `name`; later overrides win."""
        return [*SETTINGS, f"data.cache_dir={self.folder / 'cache'}", f"run_dir={self.folder / name}", *overrides]

    def micro_tokens(self, split: int) -> int:
        """Return the limit that splits every bucket batch into `split` micro-batches."""
        return most_positions(self.setup.plan.shapes, split)

    def train(self, name: str, world_size: int, *overrides: str) -> Path:
        """Train to the end and return the run folder. Raises InputError if training fails."""
        launch.train(name, self.settings(name, *overrides), world_size)
        return self.folder / name


def main() -> None:
    """Run the sections and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="writes no file")
    args = parser.parse_args()
    before = time.monotonic()
    result = new_result(settings=" ".join(SETTINGS))
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        bench = make_bench(Path(folder), args.smoke_test)
        for name in args.only:
            say(f"\n{name}")
            result[name.replace(" ", "_")] = SECTIONS[name](bench)
    result["minutes"] = round((time.monotonic() - before) / 60, 1)
    partial = args.smoke_test or len(args.only) < len(SECTIONS)
    save("ranks", result, {} if partial else make_tables(result), smoke_test=partial)


def make_bench(folder: Path, smoke_test: bool) -> Bench:
    """Prepare the corpus of all runs."""
    config = load_settings(RunConfig, None, [*SETTINGS, f"data.cache_dir={folder / 'cache'}"])
    setup = make_setup(config, prepare(config.data, folder / "cache", quiet=True))
    return Bench(folder, setup, *((6, 12, 60) if smoke_test else (50, 200, 150)))


def same_examples(bench: Bench) -> list[dict[str, Any]]:
    """Check, for every number of ranks and split, that all ranks have equally many micro-batches and that together they
    have the examples of the update."""
    rows, plan = [], bench.setup.plan
    for world_size in WORLD_SIZES:
        for wanted in SPLITS:
            split = choose_split(plan.shapes, plan.per_update, world_size, bench.micro_tokens(wanted))
            counts, same = set(), True
            for step in range(bench.exact_updates):
                update = plan.update(step)
                micro_batches = update.micro_batches(split, world_size)
                of_ranks = {len(micro_batches[rank::world_size]) for rank in range(world_size)}
                if len(of_ranks) > 1:
                    raise InputError(f"{world_size} ranks have different numbers of micro-batches in update {step}")
                counts |= of_ranks
                found, expected = (
                    np.sort(np.concatenate([batch.indices for batch in batches]))
                    for batches in (micro_batches, update.bucket_batches)
                )
                same &= np.array_equal(found[found != PADDING_ROW], expected[expected != PADDING_ROW])
            rows.append({"ranks": world_size, "split": split, "micro_batches_per_rank": sorted(counts), "same": same})
            say(json.dumps(rows[-1]))
    return rows


def float64(bench: Bench) -> list[dict[str, Any]]:
    """Return the largest differences from one rank without a split."""
    return compare(bench, "exact", bench.exact_updates, EXACT, lambda split: 1)


def fp32(bench: Bench) -> list[dict[str, Any]]:
    """Return the differences without dropout."""
    return compare(bench, "fp32", bench.fp32_updates, ("model.dropout=0.0",), lambda split: 1)


def fp32_with_dropout(bench: Bench) -> list[dict[str, Any]]:
    """Return the differences from one rank with the same split, since dropout depends on the split."""
    return compare(bench, "dropout", bench.fp32_updates, ("model.dropout=0.1",), lambda split: split)


def compare(
    bench: Bench, name: str, updates: int, overrides: Sequence[str], reference: Callable[[int], int]
) -> list[dict[str, Any]]:
    """Compare every number of ranks and split with one rank that has the split `reference(split)`."""
    runs, rows = {}, []
    for world_size in WORLD_SIZES:
        for split in SPLITS:
            steps = (f"train.max_steps={updates}", f"batches.micro_tokens={bench.micro_tokens(split)}")
            runs[world_size, split] = bench.train(f"{name}-{world_size}-{split}", world_size, *overrides, *steps)
            found = difference(runs[world_size, split], runs[1, reference(split)])
            rows.append({"ranks": world_size, "split": split, **found})
            say(json.dumps(rows[-1]))
    return rows


def dead_rank(bench: Bench) -> list[dict[str, Any]]:
    """Let one of two ranks fail in several ways; return what the launcher does."""
    stopped = f"SIGSTOP to rank 1, for which the others wait {TIMEOUT} s"
    faults: dict[str, Callable[[dict[int, psutil.Process]], None]] = {
        "SIGKILL to rank 1": lambda ranks: ranks[1].kill(),
        "SIGKILL to rank 0": lambda ranks: ranks[0].kill(),
        "SIGTERM to rank 1": lambda ranks: ranks[1].terminate(),
        "rank 0 cannot write its next checkpoint": lambda ranks: limit_files(ranks[0]),
        stopped: lambda ranks: ranks[1].suspend(),
    }
    rows = []
    for number, (name, strike) in enumerate(faults.items()):
        run, errors = bench.folder / f"dead-{number}", bench.folder / f"dead-{number}.err"
        settings = bench.settings(run.name, f"train.max_steps={bench.fault_updates}")
        change = "short-timeout" if name == stopped else ""
        with started(training_command(settings, 2, change=change), errors) as process:
            ranks = wait_for(run, 30, process)
            strike(ranks)
            since = time.monotonic()
            status = process.wait(LIMIT)
            seconds = round(time.monotonic() - since, 2)
        newest = Checkpoints(run / "checkpoints").newest()
        rows.append(
            {
                "fault": name,
                "seconds": seconds,
                "status": status,
                "message": causes(errors.read_text(), bench.folder),
                "continues_from": newest.name if newest else None,
                "processes_left": sum(process.is_running() for process in ranks.values()),
            }
        )
        say(json.dumps(rows[-1], indent=2))
    return rows


def wait_for(run: Path, updates: int, process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    """Wait until some updates are done and return the processes of the ranks. Raises InputError if the run ends."""
    while len(losses(run)) < updates:
        if process.poll() is not None:
            raise InputError(f"the run in {run.name} ended before the fault")
        time.sleep(0.02)
    ranks = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if "RANK" in (variables := child.environ()):
            ranks[int(variables["RANK"])] = child
    return ranks


def limit_files(rank: psutil.Process) -> None:
    """Limit the files of a process to 20 kB, as on a full disk."""
    resource.prlimit(rank.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))


def losses(run: Path) -> dict[int, float]:
    """Return the training loss by update."""
    lines = read_lines(run / "metrics.jsonl") if (run / "metrics.jsonl").exists() else []
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def difference(run: Path, reference: Path) -> dict[str, Any]:
    """Return the largest difference of the loss until some updates, and of the last weights."""
    own, expected = losses(run), losses(reference)
    if own.keys() != expected.keys():
        raise InputError(f"{run.name} logged {len(own)} updates and {reference.name} {len(expected)}")
    gaps = {step: abs(own[step] - expected[step]) for step in own}
    weights, expected_weights = last_weights(run), last_weights(reference)
    until = {last: max(gap for step, gap in gaps.items() if step <= last) for last in SHOWN if last <= max(gaps)}
    return {
        "loss_until": {str(last): gap for last, gap in until.items()},
        "loss": max(gaps.values()),
        "weights": float((weights - expected_weights).abs().max()),
        "weights_relative": float((weights - expected_weights).norm() / expected_weights.norm()),
    }


def last_weights(run: Path) -> torch.Tensor:
    """Return all weights of the newest checkpoint in one vector."""
    newest = Checkpoints(run / "checkpoints").newest()
    if newest is None:
        raise InputError(f"the run {run.name} has no checkpoint")
    tensors = load_file(str(newest / "model.safetensors"))
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def causes(errors: str, folder: Path) -> list[str]:
    """Return the lines of a launcher's errors that name the cause: our messages, the first exception, and the rank."""
    lines = [re.sub(r"^\[rank\d+\]: ", "", line).strip() for line in errors.replace(f"{folder}/", "").splitlines()]
    messages = [line for line in lines if re.match(r"(rank \d+: )?error: ", line)]
    raised = [line.partition(": [")[0] + ": " + line.rpartition("] ")[2] for line in lines if "Error: [" in line]
    failed = re.findall(r"(rank|exitcode) +: (-?\d+)", errors.partition("Root Cause")[2])
    return [*dict.fromkeys(messages), *raised[:1], ", ".join(f"{name} {number}" for name, number in failed)]


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the differences between numbers of ranks, and what the launcher does if a rank dies."""
    headings = ["fault", "seconds until the launcher returns", "exit status", "processes left", "message"]
    dead = [
        [
            row["fault"],
            f"{row['seconds']:.1f}",
            row["status"],
            row["processes_left"],
            "; ".join(filter(None, row["message"])),
        ]
        for row in result["dead_rank"]
    ]
    return {"devices": [devices_table(result)], "dead_rank": [table(headings, dead)]}


def devices_table(result: dict[str, Any]) -> Table:
    """Return the differences of loss and weights."""
    shown = {"float64": "float64, dropout 0", "fp32": "fp32, dropout 0", "fp32_with_dropout": "fp32, dropout 0.1"}
    steps = list(result["fp32"][0]["loss_until"])
    rows = []
    for key, name in shown.items():
        for row in result[key]:
            gaps = [f"{row['loss_until'][step]:.0e}" if step in row["loss_until"] else "" for step in steps]
            rows.append([name, row["ranks"], row["split"], *gaps, f"{row['weights']:.0e}"])
    columns = (f"difference of the loss until update {step}" for step in steps)
    return table(["run", "ranks", "split", *columns, "difference of the last weights"], rows)


SECTIONS: dict[str, Callable[[Bench], Any]] = {
    "same examples": same_examples,
    "float64": float64,
    "fp32": fp32,
    "fp32 with dropout": fp32_with_dropout,
    "dead rank": dead_rank,
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the commands it started end too
    run_command(main)
