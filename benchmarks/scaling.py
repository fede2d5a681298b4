"""What a second rank brings on this machine, and what 8 and 64 GPUs would bring, on paper.

    python benchmarks/scaling.py

(a) The real command on the built-in corpus, on processors, one thread a rank, the same plan: 1 rank, 2 ranks, and 2
ranks that do not sum their gradients, in turn; and the time of one sum of as many bytes over gloo. (b) How well the
plan shares out an update among up to 64 ranks. (c) The formulas of docs/scaling.md with its assumptions, which the
options change. Writes benchmarks/results/scaling.json.
"""

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.micro_batches import ROW_MULTIPLE, MicroBatch, choose_split
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.tasks import Task, make_task
from transformer.model import build, count_parameters

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (
    *("data.train=grammar", "data.valid=null", "data.test=null", "data.grammar_pairs=20000"),
    *("data.vocab_size=2000", "data.max_length=64"),
    *(
        "batches.tokens_per_update=2500",
        "batches.per_update=4",
        "batches.buckets=24",
        "schedule.name=noam",
        "schedule.warmup_steps=1000",
    ),
    *("train.threads=1", "train.precision=no", "train.log_with=none", "validation.bleu_sentences=0"),
    *("validation.every=1000000", "checkpoints.every=1000000", "checkpoints.average_last=1"),
)
MODELS = {"demo": "demo.yaml", "multi30k": "multi30k.yaml"}
"""Configurations whose model is trained; the data and the updates are the same for all."""
WAYS = ("1 rank", "2 ranks", "2 ranks, no sum")
LIMIT = 1200
"""Seconds after which a command counts as hanging."""
GPUS = (1, 2, 4, 8, 16, 32, 64)
PAPER_UPDATE = 25_000


@dataclass(frozen=True)
class Assumed:
    """What the model on paper takes for granted. Bandwidths are of one direction."""

    tokens_per_second: float = 840_000
    """Target tokens that one GPU takes forward and backward; base, 40% of the matrix products of an H100."""
    parameters: int = 63_082_496
    """Base with 37,000 pieces."""
    bytes_per_parameter: int = 4
    """Of the gradient that is summed: fp32, in bf16 training too."""
    memory_bytes_per_second: float = 3.0e12
    """Of a GPU; Adam moves 28 bytes a parameter through it (weight, gradient and two moments read, three written)."""
    least_slice_seconds: float = 3e-3
    """A slice takes at least this: about a thousand kernels of 3 microseconds."""
    backward_share: float = 2 / 3
    """Of forward and backward; behind it a sum can hide."""
    gpus_per_node: int = 8
    nvlink_bytes_per_second: float = 360e9
    """Of a GPU to the others of its node: 80% of 450 GB/s."""
    node_bytes_per_second: float = 50e9
    """Of a node to the others: one port of 400 Gbit/s for its 8 GPUs."""
    hop_seconds: float = 5e-6
    """From one rank to the next, for a message of no length."""
    bucket_bytes: float = 25 * 2**20
    """DDP sums the gradient in pieces of this size, as soon as a piece is complete."""


def main() -> None:
    """Read the command line, measure, write."""
    if "--worker" in sys.argv:
        return work(sys.argv[sys.argv.index("--worker") + 1 :])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few updates; writes nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=60, help="that are timed in a round")
    parser.add_argument("--tokens-per-second", type=float, default=Assumed.tokens_per_second, help="of one GPU")
    parser.add_argument("--parameters", type=int, default=Assumed.parameters, help="of the model on paper")
    args = parser.parse_args()
    rounds, updates, models = (1, 4, ["demo"]) if args.quick else (args.rounds, args.updates, list(MODELS))
    assumed = Assumed(tokens_per_second=args.tokens_per_second, parameters=args.parameters)
    result: dict[str, Any] = {"settings": " ".join(SETTINGS), "threads_of_a_rank": 1, "machine": describe_machine()}
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        config = read_config(Path(folder))
        task = make_task(config, prepare(config.data, Path(folder) / "cache", quiet=True))
        result["models"] = {name: compare(name, task.config, Path(folder), rounds, updates) for name in models}
        balance = {gpus: balance_of(large_plan(task, bricks_for(gpus)), gpus) for gpus in GPUS}
    result["balance"] = {str(ranks): round(share, 4) for ranks, share in balance.items()}
    result["paper"] = {"assumed": asdict(assumed), "rows": paper_rows(assumed, balance), **limits(assumed, balance)}
    if args.quick:
        print(json.dumps(result, indent=2))
    else:
        write_result("scaling", result)


def read_config(folder: Path, model: str = "demo", overrides: Sequence[str] = ()) -> RunConfig:
    """What the commands are started with."""
    places = [f"data.cache_dir={folder / 'cache'}"]
    return load_settings(RunConfig, ROOT / "configs" / MODELS[model], [*SETTINGS, *places, *overrides])


def compare(model: str, config: RunConfig, folder: Path, rounds: int, updates: int) -> dict[str, Any]:
    """Seconds per update of each way, in turn; what the second rank brings; and the sum of the gradients by itself."""
    vocab_size = config.model.vocab_size
    parameters = count_parameters(build(read_config(folder, model, [f"model.vocab_size={vocab_size}"]).model))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for i in range(rounds):
        for way in WAYS:
            seconds[way].append(time_updates(model, way, folder / f"{model}-{i}-{WAYS.index(way)}", updates))
            say(f"{model}, {way}: {seconds[way][-1]:.4f} s an update")
    sums = sum_seconds(4 * parameters)
    say(f"{model}: one sum of {4 * parameters:,} bytes takes {sums:.4f} s")
    speedups = [one / two for one, two in zip(seconds["1 rank"], seconds["2 ranks"], strict=True)]
    free = [one / two for one, two in zip(seconds["1 rank"], seconds["2 ranks, no sum"], strict=True)]
    return {
        "parameters": parameters,
        "bytes_per_update": 4 * parameters,
        "updates_timed_in_a_round": updates,
        "seconds_per_update": {way: [round(one, 5) for one in own] for way, own in seconds.items()},
        "median": {way: round(statistics.median(own), 5) for way, own in seconds.items()},
        "efficiency": [round(pick(speedups) / 2, 3) for pick in (statistics.median, min, max)],
        "efficiency_without_the_sum": [round(pick(free) / 2, 3) for pick in (statistics.median, min, max)],
        "seconds_of_a_sum": round(sums, 5),
    }


def time_updates(model: str, way: str, run_dir: Path, updates: int) -> float:
    """Seconds per update of a training command, without its first updates."""
    ranks = int(way[0])
    block = max(1, updates // 4)  # goes before, and is a line of the log
    overrides = [f"run_dir={run_dir}", f"train.log_every={block}", f"train.max_steps={block + updates}"]
    settings = [*SETTINGS, f"data.cache_dir={run_dir.parent / 'cache'}", *overrides]
    entry = ["train/train.py"] if way != "2 ranks, no sum" else ["benchmarks/scaling.py", "--worker", "train"]
    said = launch(ranks, [*entry, "--config", f"configs/{MODELS[model]}", *settings])
    if f"{ranks} x cpu" not in said:
        raise InputError(f"the training command did not start {ranks} rank(s)")
    lines = [json.loads(line) for line in (run_dir / "timing.jsonl").read_text().splitlines()]
    return statistics.mean([line["seconds_per_update"] for line in lines if "seconds_per_update" in line][1:])


def sum_seconds(size: int) -> float:
    """Seconds of one sum of so many bytes of fp32 over two ranks; median."""
    said = launch(2, ["benchmarks/scaling.py", "--worker", "sum", str(size)])
    return float(next(line for line in said.splitlines() if line.startswith("seconds ")).split()[1])


def launch(ranks: int, command: list[str]) -> str:
    """What a command of so many ranks prints, each with one thread. Raises ValueError where it fails."""
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(ranks)]
        start += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        start += ["--main_process_port", "0"]
    kept = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    around = kept | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, *command], cwd=ROOT, env=around, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise InputError(f"a command of {ranks} rank(s) ended with status {done.returncode}: {done.stderr[-600:]}")
    return done.stdout


def work(words: list[str]) -> None:
    """In a process that `launch` started: sum many bytes, or train without summing the gradients."""
    if words[0] == "sum":
        return print_seconds_of_a_sum(int(words[1]))
    sys.argv = ["train/train.py", *words[1:]]
    never = property(lambda self: False, lambda self, wanted: None)
    with mock.patch.object(DistributedDataParallel, "require_backward_grad_sync", never, create=True):
        runpy.run_path(str(ROOT / "train/train.py"), run_name="__main__")


def print_seconds_of_a_sum(size: int, times: int = 15) -> None:
    """The median of so many, after one that opens the connections."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    values, seconds = torch.ones(size // 4), []
    for _ in range(times + 1):
        distributed.barrier()
        started = time.perf_counter()
        distributed.all_reduce(values)
        seconds.append(time.perf_counter() - started)
        values.fill_(1.0)
    if distributed.get_rank() == 0:
        print(f"seconds {statistics.median(seconds[1:])}", flush=True)
    distributed.destroy_process_group()


def large_plan(task: Task, bricks: int) -> BatchPlan:
    """The plan of the paper's updates on the same sentences, in so many bricks."""
    large = replace(task.config.batches, tokens_per_update=PAPER_UPDATE, per_update=bricks)
    plan = make_task(replace(task.config, batches=large), task.prepared).plan
    assert isinstance(plan, BatchPlan)
    return plan


def bricks_for(gpus: int) -> int:
    """`batches.per_update`: base's 4, or as few more as give all GPUs work."""
    return max(4, -(-gpus // ROW_MULTIPLE))


def balance_of(plan: BatchPlan, ranks: int) -> float:
    """Token positions of the mean rank as a share of those of the fullest one, for which all others wait, over the
    full updates of an epoch."""
    split = choose_split(plan.shapes, plan.per_update, ranks, None)
    shares = []
    for step in range(max(1, plan.updates_per_epoch - 1)):
        batches = plan.update(step).micro_batches(split, ranks)
        shares.append([sum(map(positions, batches[rank::ranks])) for rank in range(ranks)])
    return sum(map(sum, shares)) / ranks / sum(map(max, shares))


def positions(batch: MicroBatch) -> int:
    """Token positions of a micro-batch, source and target."""
    return len(batch.indices) * (batch.src_len + batch.tgt_len)


def communication(assumed: Assumed, gpus: int, size: float) -> float:
    """Seconds in which so many bytes are summed over all GPUs: within the nodes, then between them, in rings."""
    inside = min(gpus, assumed.gpus_per_node)
    nodes = -(-gpus // assumed.gpus_per_node)
    pieces = -(-size // assumed.bucket_bytes)
    hops = pieces * assumed.hop_seconds * 2 * (inside - 1 + nodes - 1)
    return (
        2 * (inside - 1) / inside * size / assumed.nvlink_bytes_per_second
        + 2 * (nodes - 1) / nodes * size / assumed.node_bytes_per_second
        + hops
    )


def slices_of(gpus: int, bricks: int) -> int | None:
    """Slices of a brick, as the plan cuts for so many ranks; None where eight are too few."""
    return next((slices for slices in (1, 2, 4, ROW_MULTIPLE) if slices * bricks >= gpus), None)


def update_seconds(assumed: Assumed, gpus: int, tokens: int, bricks: int, balance: float) -> dict[str, float]:
    """Seconds of an update, and its parts. `balance` is what `balance_of` measures."""
    slices = slices_of(gpus, bricks)
    assert slices is not None, "more bricks are needed"
    turns = -(-bricks * slices // gpus)  # slices of a rank, one after the other
    slice_tokens = tokens / (bricks * slices)  # in the mean, and `balance` takes the fullest rank's
    one = max(assumed.least_slice_seconds, slice_tokens / assumed.tokens_per_second / balance)
    size = assumed.parameters * assumed.bytes_per_parameter
    sums = communication(assumed, gpus, size) if gpus > 1 else 0.0
    last = communication(assumed, gpus, min(size, assumed.bucket_bytes)) if gpus > 1 else 0.0
    # Only the last slice's backward sums, and the last piece is complete when it ends.
    exposed = max(last, sums - assumed.backward_share * one)
    adam = 28 * assumed.parameters / assumed.memory_bytes_per_second
    return {"compute": turns * one, "sum": sums, "exposed": exposed, "adam": adam, "all": turns * one + exposed + adam}


def paper_row(assumed: Assumed, gpus: int, tokens: int, balance: float, network: str) -> dict[str, Any]:
    """An update on so many GPUs, beside one GPU that makes the same."""
    bricks = bricks_for(gpus)
    spent = update_seconds(assumed, gpus, tokens, bricks, balance)
    alone = update_seconds(assumed, 1, tokens, 4, 1.0)["all"]
    return {
        "gpus": gpus,
        "network": network,
        "tokens_per_update": tokens,
        "bricks": bricks,
        "slices": slices_of(gpus, bricks),
        "tokens_of_a_gpu": round(tokens / gpus),
        "milliseconds": {name: round(1000 * s, 2) for name, s in spent.items()},
        "tgt_tokens_per_second": round(tokens / spent["all"]),
        "efficiency": round(alone / spent["all"] / gpus, 3),
        "minutes_of_the_papers_tokens": round(100_000 * PAPER_UPDATE / tokens * spent["all"] / 60, 1),
    }


def networks(assumed: Assumed) -> dict[str, Assumed]:
    """One port of InfiniBand for a node, as assumed, and one for each GPU."""
    wide = replace(assumed, node_bytes_per_second=assumed.gpus_per_node * assumed.node_bytes_per_second)
    return {"400 Gbit/s a node": assumed, "400 Gbit/s a GPU": wide}


def paper_rows(assumed: Assumed, balance: dict[int, float]) -> list[dict[str, Any]]:
    """1, 8 and 64 GPUs; the paper's update and larger ones."""
    rows = []
    for tokens in (PAPER_UPDATE, 4 * PAPER_UPDATE, 16 * PAPER_UPDATE):
        for gpus in (1, 8, 64):
            for network, own in list(networks(assumed).items())[: 2 if gpus > assumed.gpus_per_node else 1]:
                name = network if gpus > assumed.gpus_per_node else "NVLink" if gpus > 1 else "none"
                rows.append(paper_row(own, gpus, tokens, balance[gpus], name))
    return rows


def limits(assumed: Assumed, balance: dict[int, float]) -> dict[str, Any]:
    """The most GPUs that reach a share of their speed with the paper's update; and the update that 8 and 64 need."""
    shares, found = (0.8, 0.5), {}
    for share in shares:
        enough = [n for n in GPUS if efficiency(assumed, n, PAPER_UPDATE, balance) >= share]
        found[f"{share:.0%}"] = max(enough)
    needed = [
        {"gpus": gpus, "network": network if gpus > assumed.gpus_per_node else "NVLink", "efficiency": share}
        | {"tokens_per_update": update_for(own, gpus, share, balance)}
        for gpus in (8, 64)
        for network, own in list(networks(assumed).items())[: 2 if gpus > assumed.gpus_per_node else 1]
        for share in shares
    ]
    return {"most_gpus_of_the_papers_update": found, "update_needed": needed}


def efficiency(assumed: Assumed, gpus: int, tokens: int, balance: dict[int, float]) -> float:
    """Speed as a share of so many times one GPU's, which makes the same updates."""
    return float(paper_row(assumed, gpus, tokens, balance[gpus], "")["efficiency"])


def update_for(assumed: Assumed, gpus: int, share: float, balance: dict[int, float]) -> int | None:
    """Tokens of the smallest update, in steps of the paper's, that reaches this share; None where 100 are too few."""
    sizes = range(PAPER_UPDATE, 101 * PAPER_UPDATE, PAPER_UPDATE)
    return next((size for size in sizes if efficiency(assumed, gpus, size, balance) >= share), None)


def say(text: str) -> None:
    """At once: the runs take minutes."""
    print(text, flush=True)


if __name__ == "__main__":
    run_command(main)
