"""Measure what a second rank brings on this machine, and estimate the speed of 8 and 64 GPUs.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --estimate --tokens-per-second 800000 --micro-batch-seconds 0.003

(a) The training command on the built-in corpus, on CPUs, one thread per rank, with the same plan: 1 rank, 2 ranks, and
2 ranks without all-reduce, in turn; and the time of one all-reduce of the gradient's size over gloo. (b) How equally
the plan divides an update among up to 64 ranks. (c) The formulas of docs/scaling.md with its assumptions, which the
options change; `--estimate` computes only this part again. Writes benchmarks/results/scaling.json.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from benchmarks import launch
from benchmarks.launch import free_port
from benchmarks.runner import (
    RESULTS,
    ROOT,
    SPAWN,
    Table,
    Tables,
    command_line,
    new_result,
    ratios,
    save,
    say,
    seconds_of,
    show_spread,
    spread,
    table,
    take_turns,
)
from common.command import run_command
from common.settings import load_settings
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.micro_batches import ROW_MULTIPLE, choose_split
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.setup import Setup, make_setup
from transformer.model import build, count_parameters

NAME = "scaling"
SETTINGS = (
    *("data.train=grammar", "data.valid=null", "data.test=null", "data.grammar_pairs=20000"),
    *("data.vocab_size=2000", "data.max_length=64"),
    *("batches.tokens_per_update=2500", "batches.per_update=4", "batches.buckets=24"),
    *("schedule.name=noam", "schedule.warmup_steps=1000"),
    *("train.threads=1", "train.precision=no", "train.log_with=none", "validation.bleu_sentences=0"),
    *("validation.every=1000000", "checkpoints.every=1000000", "checkpoints.average_last=1"),
)
MODELS = {"demo": "demo.yaml", "multi30k": "multi30k.yaml"}
"""Configurations of the models; data and updates are the same for all."""
WAYS = {"1 rank": (1, ""), "2 ranks": (2, ""), "2 ranks, no all-reduce": (2, "no-all-reduce")}
"""Number of ranks, and the change of benchmarks/experiments.py."""
GPUS = (1, 2, 4, 8, 16, 32, 64)
PAPER_UPDATE = 25_000


@dataclass(frozen=True)
class Assumed:
    """Assumptions of the estimate. Bandwidths are of one direction."""

    tokens_per_second: float = 273_000
    """Target tokens per second of one GPU: base in bf16, measured on an H100 (training_gpu.json)."""
    parameters: int = 63_082_496
    """Base with a vocabulary of 37,000 and biases. The paper prints 65 million."""
    bytes_per_parameter: int = 4
    """Of the reduced gradient: fp32, also in bf16 training."""
    memory_bytes_per_second: float = 3.0e12
    """Of a GPU; Adam moves 28 bytes per parameter (weight, gradient and two moments read, three written)."""
    micro_batch_seconds: float = 46e-3
    """Minimum for a micro-batch, in which the GPU waits for Python: measured with 6,250 target tokens on an H200."""
    backward_share: float = 2 / 3
    """Share of the backward pass, which can hide an all-reduce."""
    gpus_per_node: int = 8
    nvlink_bytes_per_second: float = 360e9
    """From a GPU to the others of its node: 80% of 450 GB/s."""
    node_bytes_per_second: float = 50e9
    """From a node to the others: one port of 400 Gbit/s for its 8 GPUs."""
    hop_seconds: float = 5e-6
    """From one rank to the next, for an empty message."""
    bucket_bytes: float = 25 * 2**20
    """DDP reduces the gradient in buckets of this size, each as soon as it is complete."""


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--updates", type=int, default=60, help="number of updates to time in each round")
    parser.add_argument("--tokens-per-second", type=float, default=Assumed.tokens_per_second, help="of one GPU")
    parser.add_argument("--parameters", type=int, default=Assumed.parameters, help="of the estimated model")
    seconds = Assumed.micro_batch_seconds
    parser.add_argument("--micro-batch-seconds", type=float, default=seconds, help="minimum for a micro-batch")
    parser.add_argument("--estimate", action="store_true", help="compute only the estimate again")
    args = parser.parse_args()
    if not (args.tokens_per_second > 0 and args.parameters > 0 and args.micro_batch_seconds >= 0):
        parser.error("speed and parameters must be above 0, and --micro-batch-seconds must not be negative")
    assumed = Assumed(args.tokens_per_second, args.parameters, micro_batch_seconds=args.micro_batch_seconds)
    result = json.loads((RESULTS / f"{NAME}.json").read_text("utf-8")) if args.estimate else measure(args)
    balance = {int(ranks): share for ranks, share in result["balance"].items()}
    result["estimate"] = {"assumed": asdict(assumed), "rows": estimates(assumed, balance), **limits(assumed, balance)}
    save(NAME, result, make_tables(result), smoke_test=args.smoke_test)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the measurements of this machine."""
    rounds, updates, models = (1, 4, ["demo"]) if args.smoke_test else (args.rounds, args.updates, list(MODELS))
    result = new_result(settings=" ".join(SETTINGS), threads_of_a_rank=1)
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        config = read_config(Path(folder))
        setup = make_setup(config, prepare(config.data, Path(folder) / "cache", quiet=True))
        result["models"] = {name: compare(name, setup.config, Path(folder), rounds, updates) for name in models}
        balance = {gpus: balance_of(paper_plan(setup, bucket_batches_for(gpus)), gpus) for gpus in GPUS}
    return result | {"balance": {str(ranks): round(share, 4) for ranks, share in balance.items()}}


def read_config(folder: Path, model: str = "demo", overrides: Sequence[str] = ()) -> RunConfig:
    """Return the settings of the commands."""
    places = [f"data.cache_dir={folder / 'cache'}"]
    return load_settings(RunConfig, ROOT / "configs" / MODELS[model], [*SETTINGS, *places, *overrides])


def compare(model: str, config: RunConfig, folder: Path, rounds: int, updates: int) -> dict[str, Any]:
    """Return the seconds per update of each way, in turn; the efficiency; and the time of one all-reduce."""
    vocab_size = config.model.vocab_size
    parameters = count_parameters(build(read_config(folder, model, [f"model.vocab_size={vocab_size}"]).model))
    seconds = take_turns({way: partial(time_updates, model, way, folder, updates) for way in WAYS}, rounds)
    one, two, free = seconds.values()
    reduce = all_reduce_seconds(4 * parameters)
    say(f"{model}: one all-reduce of {4 * parameters:,} bytes takes {reduce:.4f} s")
    return {
        "parameters": parameters,
        "bytes_per_update": 4 * parameters,
        "updates_timed_in_a_round": updates,
        "seconds_per_update": {way: [round(value, 5) for value in own] for way, own in seconds.items()},
        "median": {way: round(statistics.median(own), 5) for way, own in seconds.items()},
        "efficiency": spread([ratio / 2 for ratio in ratios(one, two)]),
        "efficiency_without_all_reduce": spread([ratio / 2 for ratio in ratios(one, free)]),
        "seconds_of_an_all_reduce": round(reduce, 5),
    }


def time_updates(model: str, way: str, folder: Path, updates: int) -> float:
    """Return the seconds per update of a training command, without its first updates."""
    ranks, change = WAYS[way]
    run_dir = Path(tempfile.mkdtemp(dir=folder)) / "run"
    block = max(1, updates // 4)  # before the timed updates; also a line of the log
    steps = [f"run_dir={run_dir}", f"train.log_every={block}", f"train.max_steps={block + updates}"]
    settings = ["--config", f"configs/{MODELS[model]}", *SETTINGS, f"data.cache_dir={folder / 'cache'}", *steps]
    launch.train(f"{model}, {way}", settings, ranks, change)
    lines = [json.loads(line) for line in (run_dir / "timing.jsonl").read_text().splitlines()]
    seconds = statistics.mean([line["seconds_per_update"] for line in lines if "seconds_per_update" in line][1:])
    say(f"{model}, {way}: {seconds:.4f} s per update")
    return seconds


def all_reduce_seconds(size: int) -> float:
    """Return the median seconds of one all-reduce of `size` bytes of fp32 over two ranks."""
    queue, address = SPAWN.SimpleQueue(), f"tcp://127.0.0.1:{free_port()}"
    ranks = [SPAWN.Process(target=time_all_reduce, args=(rank, address, size, queue)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    return float(queue.get())


def time_all_reduce(rank: int, address: str, size: int, queue: Any, times: int = 15) -> None:
    """Put the median seconds into the queue, after one all-reduce that opens the connections."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    seconds = []
    for _ in range(times + 1):
        values = torch.ones(size // 4)
        distributed.barrier()
        seconds.append(seconds_of(partial(distributed.all_reduce, values)))
    if rank == 0:
        queue.put(statistics.median(seconds[1:]))
    distributed.destroy_process_group()


def paper_plan(setup: Setup, bucket_batches: int) -> BatchPlan:
    """Return the plan of the paper's updates on the same sentences."""
    batches = replace(setup.config.batches, tokens_per_update=PAPER_UPDATE, per_update=bucket_batches)
    plan = make_setup(replace(setup.config, batches=batches), setup.prepared).plan
    assert isinstance(plan, BatchPlan)
    return plan


def bucket_batches_for(gpus: int) -> int:
    """Return `batches.per_update`: base's 4, or the smallest number that gives all GPUs work."""
    return max(4, -(-gpus // ROW_MULTIPLE))


def balance_of(plan: BatchPlan, ranks: int) -> float:
    """Return the mean rank's token positions divided by those of the fullest rank, for which all others wait, over the
    full updates of an epoch."""
    split = choose_split(plan.shapes, plan.per_update, ranks, None)
    of_ranks = []
    for step in range(max(1, plan.updates_per_epoch - 1)):
        batches = plan.update(step).micro_batches(split, ranks)
        positions = [len(batch.indices) * (batch.src_len + batch.tgt_len) for batch in batches]
        of_ranks.append([sum(positions[rank::ranks]) for rank in range(ranks)])
    return sum(map(sum, of_ranks)) / ranks / sum(map(max, of_ranks))


def communication(assumed: Assumed, gpus: int, size: float) -> float:
    """Return the seconds of an all-reduce of `size` bytes over all GPUs: rings within the nodes, then between them."""
    inside = min(gpus, assumed.gpus_per_node)
    nodes = -(-gpus // assumed.gpus_per_node)
    buckets = -(-size // assumed.bucket_bytes)
    hops = buckets * assumed.hop_seconds * 2 * (inside - 1 + nodes - 1)
    return (
        2 * (inside - 1) / inside * size / assumed.nvlink_bytes_per_second
        + 2 * (nodes - 1) / nodes * size / assumed.node_bytes_per_second
        + hops
    )


def split_for(gpus: int, bucket_batches: int) -> int | None:
    """Return the split that the plan chooses for this number of ranks; None if eight are too few."""
    return next((split for split in (1, 2, 4, ROW_MULTIPLE) if split * bucket_batches >= gpus), None)


def update_seconds(assumed: Assumed, gpus: int, tokens: int, bucket_batches: int, balance: float) -> dict[str, float]:
    """Return the seconds of an update and of its parts. `balance` is the result of `balance_of`."""
    split = split_for(gpus, bucket_batches)
    assert split is not None, "more bucket batches are needed"
    turns = -(-bucket_batches * split // gpus)  # micro-batches of a rank, one after the other
    micro_batch_tokens = tokens / (bucket_batches * split)  # on average; `balance` corrects it for the fullest rank
    one = max(assumed.micro_batch_seconds, micro_batch_tokens / assumed.tokens_per_second / balance)
    size = assumed.parameters * assumed.bytes_per_parameter
    reduce = communication(assumed, gpus, size) if gpus > 1 else 0.0
    last = communication(assumed, gpus, min(size, assumed.bucket_bytes)) if gpus > 1 else 0.0
    # only the backward pass of the last micro-batch reduces, and the last bucket is complete when it ends
    exposed = max(last, reduce - assumed.backward_share * one)
    adam = 28 * assumed.parameters / assumed.memory_bytes_per_second
    total = turns * one + exposed + adam
    return {"compute": turns * one, "all_reduce": reduce, "exposed": exposed, "adam": adam, "all": total}


def estimate(assumed: Assumed, gpus: int, tokens: int, balance: float, network: str) -> dict[str, Any]:
    """Return an update on a number of GPUs, compared with one GPU."""
    bucket_batches = bucket_batches_for(gpus)
    spent = update_seconds(assumed, gpus, tokens, bucket_batches, balance)
    alone = update_seconds(assumed, 1, tokens, 4, 1.0)["all"]
    return {
        "gpus": gpus,
        "network": network,
        "tokens_per_update": tokens,
        "bucket_batches": bucket_batches,
        "split": split_for(gpus, bucket_batches),
        "tokens_of_a_gpu": round(tokens / gpus),
        "milliseconds": {name: round(1000 * s, 2) for name, s in spent.items()},
        "tgt_tokens_per_second": round(tokens / spent["all"]),
        "efficiency": round(alone / spent["all"] / gpus, 3),
        "minutes_of_the_papers_tokens": round(100_000 * PAPER_UPDATE / tokens * spent["all"] / 60, 1),
    }


def networks(assumed: Assumed, gpus: int) -> dict[str, Assumed]:
    """Return the networks to compare: between nodes, one port of InfiniBand per node, as assumed, and one per GPU."""
    if gpus <= assumed.gpus_per_node:
        return {"NVLink" if gpus > 1 else "none": assumed}
    wide = replace(assumed, node_bytes_per_second=assumed.gpus_per_node * assumed.node_bytes_per_second)
    return {"400 Gbit/s per node": assumed, "400 Gbit/s per GPU": wide}


def estimates(assumed: Assumed, balance: dict[int, float]) -> list[dict[str, Any]]:
    """Return 1, 8 and 64 GPUs with the paper's update and larger ones."""
    return [
        estimate(own, gpus, tokens, balance[gpus], network)
        for tokens in (PAPER_UPDATE, 4 * PAPER_UPDATE, 16 * PAPER_UPDATE)
        for gpus in (1, 8, 64)
        for network, own in networks(assumed, gpus).items()
    ]


def limits(assumed: Assumed, balance: dict[int, float]) -> dict[str, Any]:
    """Return the largest number of GPUs that reach an efficiency with the paper's update, and the update that 8 and 64
    GPUs need."""
    targets = (0.8, 0.5)
    most = {
        f"{target:.0%}": max(n for n in GPUS if efficiency(assumed, n, PAPER_UPDATE, balance) >= target)
        for target in targets
    }
    needed = [
        {"gpus": gpus, "network": network, "efficiency": target}
        | {"tokens_per_update": update_for(own, gpus, target, balance)}
        for gpus in (8, 64)
        for network, own in networks(assumed, gpus).items()
        for target in targets
    ]
    return {"most_gpus_of_the_papers_update": most, "update_needed": needed}


def efficiency(assumed: Assumed, gpus: int, tokens: int, balance: dict[int, float]) -> float:
    """Return the speed divided by that of one GPU times their number, with the same updates."""
    return float(estimate(assumed, gpus, tokens, balance[gpus], "")["efficiency"])


def update_for(assumed: Assumed, gpus: int, target: float, balance: dict[int, float]) -> int | None:
    """Return the tokens of the smallest update with this efficiency, a multiple of the paper's; None above 100."""
    sizes = range(PAPER_UPDATE, 101 * PAPER_UPDATE, PAPER_UPDATE)
    return next((size for size in sizes if efficiency(assumed, gpus, size, balance) >= target), None)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the measurement and the estimate."""
    return {"scaling": [measured_table(result)], "scaling_model": estimate_tables(result)}


def measured_table(result: dict[str, Any]) -> Table:
    """Return one row per model."""
    headings = ["model of", "parameters", "gradient (MB)", *(f"{way} (s per update)" for way in WAYS),
                "one all-reduce alone (s)", "efficiency (min to max)", "without all-reduce"]  # fmt: skip
    rows = [
        [name, f"{own['parameters']:,}", f"{own['bytes_per_update'] / 1e6:.1f}",
         *(f"{value:.3f}" for value in own["median"].values()), f"{own['seconds_of_an_all_reduce']:.3f}",
         show_spread(own["efficiency"], ".0%"), show_spread(own["efficiency_without_all_reduce"], ".0%")]
        for name, own in result["models"].items()
    ]  # fmt: skip
    machine = result["machine"]
    return table(headings, rows, f"{machine['cpu']}, {machine['cores']} cores, one thread per rank.")


def estimate_tables(result: dict[str, Any]) -> list[Table]:
    """Return the estimate, the update that it needs, and how equally the plan divides the work."""
    paper, rows = result["estimate"], []
    for row in paper["rows"]:
        spent = [f"{row['milliseconds'][name]:.1f}" for name in ("compute", "all_reduce", "exposed", "all")]
        split = f"{row['bucket_batches']} x {row['split']}"
        speed = f"{row['tgt_tokens_per_second']:,}", f"{row['efficiency']:.0%}"
        sizes = f"{row['tokens_per_update']:,}", row["gpus"], row["network"], split, f"{row['tokens_of_a_gpu']:,}"
        rows.append([*sizes, *spent, *speed, f"{row['minutes_of_the_papers_tokens']:,.0f} min"])
    headings = ["tokens per update", "GPUs", "network", "bucket batches x micro-batches", "tokens per GPU",
                "compute (ms)", "all-reduce (ms)", "all-reduce not hidden (ms)", "update (ms)", "target tokens/s",
                "efficiency", "time for 2.5 billion target tokens"]  # fmt: skip
    needed = [
        [need["gpus"], need["network"], f"{need['efficiency']:.0%}",
         f"{need['tokens_per_update']:,}" if need["tokens_per_update"] else "more than 2,500,000"]
        for need in paper["update_needed"]
    ]  # fmt: skip
    most = ", ".join(f"{share} up to {gpus} GPUs" for share, gpus in paper["most_gpus_of_the_papers_update"].items())
    balance = ", ".join(f"{share:.1%} with {gpus}" for gpus, share in result["balance"].items())
    note = (
        f"With one port per node, the paper's update of 25,000 tokens has an efficiency of {most} (of 1, 2, 4 to 64).\n"
        f"Work of the mean rank divided by that of the fullest one, measured on the plan: {balance} ranks."
    )
    columns = ["GPUs", "network", "target efficiency", "tokens per update"]
    return [table(headings, rows), table(columns, needed, note)]


if __name__ == "__main__":
    run_command(main)
