"""What an update and a run are on other numbers of devices, and what happens when one of them dies.

    python benchmarks/ranks.py

runs the real command on the built-in corpus with a tiny model, on processors: 1, 2 and 4 ranks, three cuts each, in
float64, in fp32, with dropout; a run that changes its number of ranks twice; ranks that are killed, stopped or fail;
two launchers that meet over loopback. Writes benchmarks/results/ranks.json.
"""

import argparse
import json
import os
import re
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import psutil  # type: ignore[import-untyped]  # accelerate needs it, too
import torch
from accelerate import InitProcessGroupKwargs
from safetensors.torch import load_file

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.block_plan import BlockPlan
from data_pipeline.micro_batches import choose_split, most_positions
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.run.checkpoints import Checkpoints
from train.tasks import make_task

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (
    *("data.train=grammar", "data.grammar_pairs=2000", "data.vocab_size=400", "data.max_length=40"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64"),
    *(
        "batches.tokens_per_update=1600",
        "batches.per_update=4",
        "batches.buckets=8",
        "schedule.warmup_steps=400",
        "train.threads=1",
    ),
    *("train.log_every=1", "train.log_with=none", "validation.every=100000", "validation.bleu_sentences=0"),
    *("checkpoints.every=25",),
)
EXACT = ("train.precision=float64", "model.dropout=0.0")
WORLDS, CUTS = (1, 2, 4), (1, 2, 4)
SHOWN = (1, 10, 50, 100, 200)
"""Updates at which the drift is shown."""
LIMIT = 300
"""Seconds after which a command counts as hanging."""
PATIENCE = 5
"""Seconds that a rank waits for a silent one, where one is stopped; otherwise it is an hour (train/distributed.py)."""


@dataclass(frozen=True)
class Bench:
    """The folder of all runs, and the lengths of the runs."""

    folder: Path
    plan: BatchPlan | BlockPlan
    exact_updates: int
    drift_updates: int
    fault_updates: int

    def arguments(self, name: str, *overrides: str) -> list[str]:
        """Of the training command, for the run `name`; later overrides win."""
        where = (f"data.cache_dir={self.folder / 'cache'}", f"run_dir={self.folder / name}")
        return [*SETTINGS, *where, *overrides]

    def micro_tokens(self, slices: int) -> str:
        """The setting that cuts every batch into `slices`."""
        return f"batches.micro_tokens={most_positions(self.plan.shapes, slices)}"

    def train(self, name: str, world: int, *overrides: str) -> Path:
        """A run to its end; returns its folder. Raises ValueError where it fails."""
        command = [*launcher(world), "train/train.py", *self.arguments(name, *overrides)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT)
        if done.returncode:
            said = " ".join(done.stderr[-600:].split())
            raise InputError(f"the run {name} ended with status {done.returncode}: {said}")
        if f"{world} x cpu" not in done.stdout:
            raise InputError(f"the run {name} did not start {world} ranks")
        return self.folder / name


def main() -> None:
    """Read the command line, run the sections, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few updates; writes nothing")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="writes nothing")
    parser.add_argument("--with-timeout", type=int, metavar="SECONDS", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args()
    if args.with_timeout is not None:
        return train_with_timeout(args.with_timeout, rest)
    started = time.monotonic()
    result: dict[str, Any] = {"settings": " ".join(SETTINGS), "machine": describe_machine()}
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        bench = make_bench(Path(folder), args.quick)
        for name in args.only:
            print(f"\n{name}", flush=True)
            result[name.replace(" ", "_")] = SECTIONS[name](bench)
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    if args.quick or len(args.only) < len(SECTIONS):
        print(json.dumps(result, indent=2))
    else:
        write_result("ranks", result)


def make_bench(folder: Path, quick: bool) -> Bench:
    """Prepare the corpus that all runs share."""
    config = load_settings(RunConfig, None, [*SETTINGS, f"data.cache_dir={folder / 'cache'}"])
    plan = make_task(config, prepare(config.data, folder / "cache", quiet=True)).plan
    return Bench(folder, plan, *((6, 12, 60) if quick else (50, 200, 150)))


def same_sentences(bench: Bench) -> list[dict[str, Any]]:
    """Of every world and cut, read from the plan: slices of a rank, and whether the ranks share out every update."""
    table = []
    for world in WORLDS:
        for slices in CUTS:
            shapes, per_update = bench.plan.shapes, bench.plan.per_update
            split = choose_split(shapes, per_update, world, most_positions(shapes, slices))
            counts, whole = set(), True
            for step in range(bench.exact_updates):
                update = bench.plan.update(step)
                shares = [update.micro_batches(split, world)[rank::world] for rank in range(world)]
                if len({len(share) for share in shares}) > 1:
                    raise InputError(f"ranks of {world} have different numbers of slices in update {step}")
                counts |= {len(share) for share in shares}
                rows = np.concatenate([batch.indices for share in shares for batch in share])
                wanted = np.concatenate([batch.indices for batch in update.bucket_batches])
                whole &= bool(np.array_equal(np.sort(rows[rows >= 0]), np.sort(wanted[wanted >= 0])))
            table.append({"ranks": world, "slices": split, "slices_of_a_rank": sorted(counts), "same_rows": whole})
            say(f"{world} ranks, {split} slices: {sorted(counts)} slices a rank and update, same rows: {whole}")
    return table


def float64(bench: Bench) -> list[dict[str, Any]]:
    """Largest differences from one rank without cuts."""
    return compare_worlds(bench, "exact", bench.exact_updates, EXACT, lambda slices: 1)


def fp32(bench: Bench) -> list[dict[str, Any]]:
    """The drift without dropout."""
    return compare_worlds(bench, "fp32", bench.drift_updates, ("model.dropout=0.0",), lambda slices: 1)


def fp32_with_dropout(bench: Bench) -> list[dict[str, Any]]:
    """The drift from one rank with the same cut: another cut draws other dropout."""
    return compare_worlds(bench, "dropout", bench.drift_updates, ("model.dropout=0.1",), lambda slices: slices)


def compare_worlds(
    bench: Bench, name: str, updates: int, overrides: Sequence[str], reference: Callable[[int], int]
) -> list[dict[str, Any]]:
    """Every world and cut beside the run of one rank that is cut into `reference(slices)`."""
    runs, table = {}, []
    for world in WORLDS:
        for slices in CUTS:
            steps = (f"train.max_steps={updates}", bench.micro_tokens(slices))
            runs[world, slices] = bench.train(f"{name}-{world}-{slices}", world, *overrides, *steps)
            against = runs[1, reference(slices)]
            table.append({"ranks": world, "slices": slices, **difference(runs[world, slices], against)})
            say(show(table[-1]))
    return table


def another_number_of_ranks(bench: Bench) -> dict[str, Any]:
    """One rank, then two, then four, in float64, beside one rank throughout."""
    alone = bench.train("alone", 1, *EXACT, f"train.max_steps={bench.exact_updates}")
    for world, share in ((1, 3), (2, 2), (4, 1)):
        changing = bench.train("changing", world, *EXACT, f"train.max_steps={bench.exact_updates // share}")
    result = {"ranks": [1, 2, 4], **difference(changing, alone)}
    say(show(result))
    return result


def dead_rank(bench: Bench) -> list[dict[str, Any]]:
    """One of two ranks dies, each time in another way; what the launcher does."""
    faults: dict[str, tuple[Sequence[str], Callable[[dict[int, psutil.Process]], None]]] = {
        "SIGKILL to rank 1": (["train/train.py"], lambda ranks: ranks[1].kill()),
        "SIGKILL to rank 0": (["train/train.py"], lambda ranks: ranks[0].kill()),
        "SIGTERM to rank 1": (["train/train.py"], lambda ranks: ranks[1].terminate()),
        "rank 0 cannot write its next checkpoint": (["train/train.py"], lambda ranks: limit_files(ranks[0])),
        f"SIGSTOP to rank 1, which the others wait for {PATIENCE} s": (
            ["benchmarks/ranks.py", "--with-timeout", str(PATIENCE)],
            lambda ranks: ranks[1].suspend(),
        ),
    }
    table = []
    for number, (name, (entry, strike)) in enumerate(faults.items()):
        run = bench.folder / f"dead-{number}"
        with started(bench, entry, run.name, []) as (process, errors):
            ranks = wait_for(run, 30, process)
            strike(ranks)
            since = time.monotonic()
            status = process.wait(LIMIT)
            seconds = round(time.monotonic() - since, 2)
        newest = Checkpoints(run / "checkpoints").newest()
        message = blame(errors.read_text(), bench.folder)
        row = {"fault": name, "seconds": seconds, "status": status, "message": message}
        row |= {"continues_from": newest.name if newest else None}
        row |= {"processes_left": sum(process.is_running() for process in ranks.values())}
        table.append(row)
        say(json.dumps(row, indent=2))
    return table


def restart(bench: Bench) -> dict[str, Any]:
    """`--max_restarts 1`: rank 1 is killed, and nobody helps."""
    undisturbed = bench.train("undisturbed", 2, f"train.max_steps={bench.fault_updates}")
    run = bench.folder / "restarted"
    with started(bench, ["train/train.py"], run.name, ["--max_restarts", "1"]) as (process, errors):
        wait_for(run, 40, process)[1].kill()
        since, killed_at = time.monotonic(), len(losses(run))
        while process.poll() is None and len(losses(run)) <= killed_at:
            time.sleep(0.02)
        beyond = round(time.monotonic() - since, 2)
        status = process.wait(LIMIT)
    if status:
        raise InputError(f"the restarted run ended with status {status}: {blame(errors.read_text(), bench.folder)}")
    newest = Checkpoints(run / "checkpoints").newest()
    assert newest is not None
    files = [run / "metrics.jsonl", run / "model.safetensors"]
    files += [newest / "model.safetensors", newest / "optimizer.safetensors"]
    equal = {
        str(path.relative_to(run)): path.read_bytes() == (undisturbed / path.relative_to(run)).read_bytes()
        for path in files
    }
    result = {"status": status, "seconds_until_it_is_beyond_the_kill": beyond, "byte_identical": equal}
    say(json.dumps(result, indent=2))
    return result


def two_launchers(bench: Bench) -> dict[str, Any]:
    """Two launchers, as on two hosts, with one run folder, beside one rank; then with a folder each."""
    steps = (*EXACT, f"train.max_steps={bench.exact_updates}")
    alone = bench.train("one-host", 1, *steps)
    shared = launch_hosts(bench, ["two-hosts", "two-hosts"], steps)
    together = {"statuses": [status for status, _ in shared], **difference(bench.folder / "two-hosts", alone)}
    more = (*EXACT, f"train.max_steps={bench.exact_updates + 2}")
    apart = launch_hosts(bench, ["two-hosts", "elsewhere"], more)
    messages = [blame(text, bench.folder)[0] for _, text in apart]
    result = {"shared": together, "a_folder_each": {"statuses": [s for s, _ in apart], "messages": messages}}
    say(json.dumps(result, indent=2))
    return result


def launch_hosts(bench: Bench, runs: list[str], overrides: Sequence[str]) -> list[tuple[int, str]]:
    """(exit status, errors) of one launcher for each run folder, all of them in one group."""
    port, processes = free_port(), []
    for host, run in enumerate(runs):
        meeting = ["--machine_rank", str(host), "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
        command = [*launcher(len(runs), *meeting, hosts=len(runs)), "train/train.py", *bench.arguments(run, *overrides)]
        errors = (bench.folder / f"host-{host}.err").open("w+")
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=errors)
        processes.append((process, errors))
    ended = []
    for process, errors in processes:
        status = process.wait(LIMIT)
        errors.seek(0)
        ended.append((status, errors.read()))
        errors.close()
    return ended


def launcher(world: int, *options: str, hosts: int = 1) -> list[str]:
    """What stands before `train/train.py`; plain Python for one rank."""
    if world == 1:
        return [sys.executable]
    port = [] if hosts > 1 else ["--main_process_port", "0"]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(world)),
        *("--num_machines", str(hosts), "--mixed_precision", "no", "--dynamo_backend", "no", *port, *options),
    ]


def environment() -> dict[str, str]:
    """For a training command on processors."""
    kept = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    return kept | {"ACCELERATE_USE_CPU": "true"}


@contextmanager
def started(
    bench: Bench, entry: Sequence[str], name: str, options: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A launcher of two ranks at work, and the file of what it says; ended at the end, whatever happens."""
    errors = bench.folder / f"{name}.err"
    updates = f"train.max_steps={bench.fault_updates}"
    command = [*launcher(2, *options), *entry, *bench.arguments(name, updates)]
    with errors.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=file)
        try:
            yield process, errors
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(LIMIT)


def wait_for(run: Path, updates: int, process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    """Wait until so many updates are done; returns the processes of the ranks. Raises ValueError if it ends first."""
    while len(losses(run)) < updates:
        if process.poll() is not None:
            raise InputError(f"the run in {run.name} ended before it was disturbed")
        time.sleep(0.02)
    ranks = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if "RANK" in (of_child := child.environ()):
            ranks[int(of_child["RANK"])] = child
    return ranks


def limit_files(rank: psutil.Process) -> None:
    """From now on its files end after 20 kB, as if its disk had no more room."""
    resource.prlimit(rank.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))


def train_with_timeout(seconds: int, arguments: list[str]) -> None:
    """`train/train.py` with another patience of the ranks for one another: nobody waits an hour for a measurement."""
    short = InitProcessGroupKwargs(timeout=timedelta(seconds=seconds))
    sys.argv = ["train/train.py", *arguments]
    with mock.patch("train.distributed.InitProcessGroupKwargs", return_value=short):
        runpy.run_path(str(ROOT / "train/train.py"), run_name="__main__")


def losses(run: Path) -> dict[int, float]:
    """Training loss by update."""
    file = run / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def difference(run: Path, reference: Path) -> dict[str, Any]:
    """How far apart two runs are: the largest difference of the loss until some updates, and of the last weights."""
    ours, theirs = losses(run), losses(reference)
    if ours.keys() != theirs.keys():
        raise InputError(f"{run.name} logged {len(ours)} updates and {reference.name} {len(theirs)}")
    gaps = {step: abs(ours[step] - theirs[step]) for step in ours}
    shown = [step for step in SHOWN if step <= max(gaps)]
    ours_W, theirs_W = last_weights(run), last_weights(reference)
    return {
        "loss_until": {str(last): max(gap for step, gap in gaps.items() if step <= last) for last in shown},
        "loss": max(gaps.values()),
        "weights": float((ours_W - theirs_W).abs().max()),
        "weights_relative": float((ours_W - theirs_W).norm() / theirs_W.norm()),
    }


def last_weights(run: Path) -> torch.Tensor:
    """All weights of the newest checkpoint, in one vector."""
    newest = Checkpoints(run / "checkpoints").newest()
    if newest is None:
        raise InputError(f"the run {run.name} has no checkpoint")
    tensors = load_file(str(newest / "model.safetensors"))
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def blame(errors: str, folder: Path) -> list[str]:
    """The lines of a launcher that say what went wrong: our own sentences, the first exception, who failed and how."""
    lines = [re.sub(r"^\[rank\d+\]: ", "", line).strip() for line in errors.replace(f"{folder}/", "").splitlines()]
    ours = [line for line in lines if re.match(r"(rank \d+: )?error: ", line)]
    raised = [line.partition(": [")[0] + ": " + line.rpartition("] ")[2] for line in lines if "Error: [" in line]
    cause = errors.partition("Root Cause")[2]
    who = re.findall(r"(rank|exitcode) +: (-?\d+)", cause)
    return [*dict.fromkeys(ours), *raised[:1], ", ".join(f"{name} {number}" for name, number in who)]


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return int(it.getsockname()[1])


def show(row: dict[str, Any]) -> str:
    """A row of a table of differences."""
    until = "  ".join(f"{step}: {gap:.1e}" for step, gap in row["loss_until"].items())
    place = f"{row['ranks']} ranks, {row['slices']} slices" if "slices" in row else f"{row['ranks']} ranks in turn"
    return f"{place}: loss until update {until}; weights {row['weights']:.1e}, relative {row['weights_relative']:.1e}"


def say(text: str) -> None:
    """At once: the sections take minutes."""
    print(text, flush=True)


SECTIONS: dict[str, Callable[[Bench], Any]] = {
    "same sentences": same_sentences,
    "float64": float64,
    "fp32": fp32,
    "fp32 with dropout": fp32_with_dropout,
    "another number of ranks": another_number_of_ranks,
    "dead rank": dead_rank,
    "restart": restart,
    "two launchers": two_launchers,
}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it started, too
    run_command(main)
