"""Compare the training speed of paper-transformer, `MarianMTModel` and `torch.nn.Transformer` with the hardware limit.

    python -m benchmarks.training --data train.en train.de
    python -m benchmarks.training --device cuda --sizes base --precisions bf16 --others --compile paper-transformer
    python -m benchmarks.training --smoke-test

Sizes: 256/3+3 with a vocabulary of 4,000, base and, on a GPU, big; fp32 (`no`) and bf16 (autocast). Every program
trains on the same batches: those of the plan's updates from 200 on. Sentences are as long as those of --data or of the
built-in corpus, in subwords of a vocabulary trained on it; ids are random. All models have random weights, the same
size, dropout in the paper's places, and label smoothing. paper-transformer runs its trainer with all checks; the others
run the usual loop of forward pass, F.cross_entropy, backward pass and fused Adam. In bf16 on a CPU, paper-transformer
computes attention in fp32, because PyTorch's fused attention is slow in bf16 there; the other programs do without fused
attention, which makes them faster too. In bf16 each other program is measured twice: under autocast, and with weights
in bf16 whose fp32 copies the optimizer updates. --compile adds programs under torch.compile, with dynamic shapes, fixed
shapes (few --buckets) or, on a GPU, fixed shapes and CUDA graphs. They first train on one batch of every shape of the
plan's first 200 updates; graphs that are compiled later count as recompiles. On a CPU that takes minutes. --per-update
is the number of micro-batches per update, so the micro-batches of an update are smaller if there are more of them.

Every program has its own process and waits while another one trains. They take turns in rounds, together with the
matrix products of the hardware limit, so that other load on the machine slows all of them. Tokens are those of source
or target, with EOS and without padding. Batches are made before the clock starts. Separate passes, which do not count
in the speeds, measure the parts of paper-transformer's update and (--profile) its operations; `data` is the time to
make its batches, which the training loop does in a parallel thread. FLOP are those of the products with weights, 6 per
weight and token (train/doctor/flops.py); MFU is their rate divided by that of the best product. Peak memory is what a
process uses for model, optimizer and training. On a CPU it excludes libraries and batches; on a GPU it is what PyTorch
has reserved. The seconds to start are those of building the model, compiling it and warming up.

Not compared: eole 0.6.4 and JoeyNMT 2.3.0. Their wheels install, but eole brings spacy, fasttext, fastapi, torchcodec
and a pinned protobuf, JoeyNMT a protobuf below 3.21, pylint and plotly; and both build a model only from their own
configuration and vocabulary.

Writes benchmarks/results/training.json (on a GPU training_gpu.json) after every precision of every size, so that a run
that is stopped keeps what it has measured. Needs `pip install -e '.[bench]'`.
"""

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.programs import marian, torch_transformer, train_paper_transformer
from benchmarks.programs.train_paper_transformer import PARTS
from benchmarks.programs.training import Compiled, TrainTask, Work, save_work
from benchmarks.runner import (
    Start,
    Tables,
    command_line,
    compare_speeds,
    new_result,
    running,
    save,
    say,
    seconds_of,
    show_spread,
    table,
    take_turns,
    write,
)
from common.command import run_command
from data_pipeline.batch_plan import BatchPlan
from data_pipeline.config import DataConfig
from data_pipeline.examples import SentencePairs
from data_pipeline.micro_batches import MicroBatch, Update, choose_split
from data_pipeline.prepared_data import prepare
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from train.doctor.flops import update_flops
from transformer.config import ModelConfig
from transformer.model import build

SIZES = {
    "smallest": ModelConfig(vocab_size=2000, d_model=32, n_layers=1, n_heads=2, d_ff=64),
    "small": ModelConfig(vocab_size=4000, d_model=256, n_layers=3, n_heads=4, d_ff=1024),
    "base": ModelConfig(),
    "big": ModelConfig(d_model=1024, d_ff=4096, n_heads=16, dropout=0.3),
}
TOKENS = {
    "cpu": {"smallest": 1000, "small": 2500, "base": 4096, "big": 4096},
    "cuda": {"smallest": 1000, "small": 2500, "base": 25_000, "big": 25_000},
}
"""Tokens per update, of source and of target, if --tokens is not given."""
PAPER_TRANSFORMER = "paper-transformer"
STARTS: dict[str, Start] = {
    PAPER_TRANSFORMER: train_paper_transformer.start,
    "MarianMTModel": marian.start_training,
    "torch.nn.Transformer": torch_transformer.start,
}
OTHERS = [name for name in STARTS if name != PAPER_TRANSFORMER]
MAX_LENGTH = 64
SETTLED = 200
"""Updates after which no recompiles are expected; the timed updates follow."""
SEED = 1
PRODUCTS = {
    "cpu": ((2048, 512, 2048), (2048, 2048, 512), (2048, 1024, 4096)),
    "cuda": ((2048, 512, 2048), (8192, 1024, 4096), (8192, 8192, 8192)),
}
"""(rows, in, out) of the products that are the hardware limit; the first is that of base's feed-forward network."""
PRECISIONS = {"no": "fp32", "bf16": "bf16"}


@dataclass(frozen=True)
class Batches:
    """Files with the batches of a cell, and their figures."""

    timed: Path
    first: Path
    """One of the updates, to warm up; a compiled program warms up with `every_shape`."""
    every_shape: Path
    src_tokens: int
    tgt_tokens: int
    about: dict[str, Any]


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = command_line(__doc__, rounds=5, threads=2, device=True)
    parser.add_argument("--data", nargs=2, type=Path, metavar=("SOURCE", "TARGET"), help="text files, line by line")
    parser.add_argument("--cache", type=Path, help="data.cache_dir with these data (default: prepare them)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "base"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=OTHERS, help="default: both; none if empty")
    parser.add_argument("--compile", nargs="+", choices=STARTS, default=[], metavar="PROGRAM", help="also compiled")
    parser.add_argument("--shapes", nargs="+", choices=get_args(Compiled)[1:], default=["dynamic"], help="if compiled")
    parser.add_argument("--tokens", type=int, help="tokens per update (default: depends on the size)")
    parser.add_argument("--per-update", type=int, default=4, help="number of micro-batches per update")
    parser.add_argument("--buckets", type=int, default=24, help="number of length buckets")
    parser.add_argument("--max-length", type=int, default=MAX_LENGTH, help="drop longer sentence pairs")
    parser.add_argument("--updates", type=int, default=3, help="number of updates to time in each round")
    parser.add_argument("--profile", action="store_true", help="also measure paper-transformer's operations")
    return parser.parse_args()


def main() -> None:
    """Measure every cell and save the result."""
    args = parse_args()
    if args.smoke_test:
        args.sizes, args.precisions, args.rounds, args.updates = ["smallest"], args.precisions[-1:], 2, 1
        args.tokens, args.buckets = args.tokens or 1000, 4
    torch.set_num_threads(args.threads)
    names = ("threads", "device", "rounds", "updates", "max_length", "per_update")
    options = {name: getattr(args, name) for name in names}
    lengths_of = "of a corpus" if args.data else "of the built-in corpus"
    result = new_result(**options, lengths=lengths_of, versions={"transformers": version("transformers")})
    name = "training" if args.device == "cpu" else "training_gpu"
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        lengths = read_lengths(args.data, args.max_length, args.cache or Path(folder) / "cache", args.smoke_test)
        for size in args.sizes:
            for own in compare(args, size, lengths, Path(folder) / size):
                result[size] = own
                write(name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    save(name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def read_lengths(data: list[Path] | None, max_length: int, cache: Path, smoke_test: bool) -> tuple[Any, Any]:
    """Return the number of subwords of every source and target that the filters keep."""
    corpus: Any = [str(file) for file in data] if data else "grammar"
    subwords, pairs = 4000 if data else 2000, 4000 if smoke_test else 40_000
    config = DataConfig(train=corpus, vocab_size=subwords, grammar_pairs=pairs, max_length=max_length)
    train = prepare(config, cache, quiet=True).train
    return train.src_lengths, train.tgt_lengths


def compare(args: argparse.Namespace, size: str, lengths: tuple[Any, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Measure every precision of one size; yield the result of the size after each."""
    config = SIZES[size]
    batches = make_batches(args, config, args.tokens or TOKENS[args.device][size], lengths, folder)
    flop = update_flops(build(config), config, 0, batches.src_tokens, batches.tgt_tokens)
    result: dict[str, Any] = {"model": asdict(config), "batches": batches.about, "gflop": round(flop / 1e9, 1)}
    for precision in args.precisions:
        say(f"{size}, {PRECISIONS[precision]}")
        tasks = make_tasks(args, precision, config, batches)
        measured = measure(tasks, args, precision)
        products = {name: round(statistics.median(own[name] for own in measured["products"]), 1)
                    for name in measured["products"][0]}  # fmt: skip
        seconds = {"data": batches.about["seconds_to_make_an_update"], **split(measured["split"])}
        result[precision] = {
            "limits": products,
            **summarise(measured["answers"], batches, flop, products),
            "seconds_of_an_update": {part: round(own, 5) for part, own in seconds.items()},
            **measured["profile"],
        }
        yield result


def make_tasks(
    args: argparse.Namespace, precision: Literal["no", "bf16"], config: ModelConfig, batches: Batches
) -> dict[str, tuple[Start, TrainTask]]:
    """Return the tasks of a cell by the name of their row: each program in every way in which it is measured."""
    tasks: dict[str, tuple[Start, TrainTask]] = {}
    for program in (PAPER_TRANSFORMER, *args.others):
        weights = (False, True) if precision == "bf16" and program in OTHERS else (False,)
        ways: list[Compiled] = ["no", *(args.shapes if program in args.compile else ())]
        for compiled, bf16_weights in itertools.product(ways, weights):
            warm_up = batches.first if compiled == "no" else batches.every_shape
            files = str(batches.timed), str(warm_up), args.device
            name = program + ", bf16 weights" * bf16_weights + f", compiled ({compiled})" * (compiled != "no")
            tasks[name] = STARTS[program], TrainTask(compiled, precision, asdict(config), *files, bf16_weights)
    return tasks


def make_batches(
    args: argparse.Namespace, config: ModelConfig, tokens: int, lengths: tuple[Any, Any], folder: Path
) -> Batches:
    """Write the plan's updates from `SETTLED` on, and one batch of each shape before, made as in the training loop."""
    folder.mkdir()
    ids = random_ids(lengths, config.vocab_size, folder)
    plan = BatchPlan(
        *lengths, tokens_per_update=tokens, per_update=args.per_update, max_buckets=args.buckets, seed=SEED
    )
    split = choose_split(plan.shapes, plan.per_update, world_size=1, micro_tokens=None)

    def make(update: Update) -> Work:
        return update, [ids.batch(micro_batch) for micro_batch in update.micro_batches(split, world_size=1)]

    updates = [plan.update(step) for step in range(SETTLED, SETTLED + args.updates)]
    make(updates[0])  # warm-up
    work: list[Work] = []
    seconds = seconds_of(lambda: work.extend(map(make, updates))) / len(updates)
    seen: dict[tuple[int, ...], MicroBatch] = {}
    for step in range(SETTLED):
        for batch in plan.update(step).bucket_batches:
            seen.setdefault((len(batch.indices), batch.src_len, batch.tgt_len), batch)
    shapes = [make(Update(step, (batch,), 1, batch.indices.size)) for step, batch in enumerate(seen.values())]
    for name, own in {"timed": work, "first": work[:1], "every_shape": shapes}.items():
        save_work(own, folder / name)
    src_tokens, tgt_tokens = (sum(getattr(u, name) for u in updates) for name in ("src_tokens", "predicted_tokens"))
    positions = sum(b.inputs[0].numel() + b.labels_BL.numel() for _, batches in work for b in batches)
    about = {
        "updates": args.updates,
        "tokens_per_update": tokens,
        "src_tokens": src_tokens,
        "tgt_tokens": tgt_tokens,
        "padding": round(1 - (src_tokens + tgt_tokens) / positions, 4),
        "padding_of_an_epoch": round(plan.padding(), 4),
        "buckets": len(plan.buckets),
        "shapes_in_200_updates": len(seen),
        "seconds_to_make_an_update": seconds,
    }
    return Batches(folder / "timed", folder / "first", folder / "every_shape", src_tokens, tgt_tokens, about)


def random_ids(lengths: tuple[Any, Any], vocab_size: int, folder: Path) -> SentencePairs:
    """Return random subwords in these lengths; each sentence ends with EOS."""
    generator = np.random.default_rng(SEED)
    for name, own in zip(("src", "tgt"), lengths, strict=True):
        with TokenStoreWriter(folder / f"train.{name}", vocab_size) as writer:
            writer.append([*generator.integers(EOS_ID + 1, vocab_size, n - 1).tolist(), EOS_ID] for n in own)
    return SentencePairs.open(folder, "train")


def measure(
    tasks: dict[str, tuple[Start, TrainTask]], args: argparse.Namespace, precision: Literal["no", "bf16"]
) -> dict[str, Any]:
    """Return what every program and the matrix products measured in every round, and the parts of an update."""
    with running(tasks, args.device, args.threads) as programs:
        turns: dict[str, Any] = {"products": partial(measure_products, args.device, precision)}
        turns |= {name: partial(program.ask, "time") for name, program in programs.items()}
        answers = take_turns(turns, args.rounds)
        passes = [programs[PAPER_TRANSFORMER].ask("split") for _ in range(args.rounds)]
        profile = programs[PAPER_TRANSFORMER].ask("profile") if args.profile else {}
    return {"products": answers.pop("products"), "answers": answers, "split": passes, "profile": profile}


@torch.inference_mode()
def measure_products(device: str, precision: Literal["no", "bf16"], repeats: int = 5) -> dict[str, float]:
    """Return GFLOP/s of each of `PRODUCTS`, the median of a few calls."""
    rates = {}
    for rows, inner, outer in PRODUCTS[device]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x = torch.randn(rows, inner, device=device, dtype=dtype)
        weight = torch.randn(outer, inner, device=device, dtype=dtype)
        seconds = [seconds_of(partial(F.linear, x, weight), device) for _ in range(repeats + 1)]
        rates[f"{rows}x{inner}x{outer}"] = 2 * rows * inner * outer / statistics.median(seconds[1:]) / 1e9
    return rates


def summarise(
    answers: dict[str, list[dict[str, Any]]], batches: Batches, flop: float, products: dict[str, float]
) -> dict[str, Any]:
    """Return tokens per second of each program in every round, the speed-up of paper-transformer in the same round
    (median, minimum, maximum), MFU, memory and recompiles."""
    tokens, result = batches.src_tokens + batches.tgt_tokens, {}
    speeds = {name: [tokens / answer["seconds"] for answer in own] for name, own in answers.items()}
    first = next(iter(products.values()))
    for name, compared in compare_speeds(speeds, PAPER_TRANSFORMER, of_reference=True).items():
        middle = statistics.median(speeds[name])
        gflops = middle / tokens * flop / 1e9
        result[name] = compared | {
            "target_tokens_per_second": round(middle * batches.tgt_tokens / tokens, 1),
            "gflop_per_second": round(gflops, 1),
            "mfu": round(gflops / max(products.values()), 3),
            "share_of_the_first_product": round(gflops / first, 3),
            "peak_mb": round(max(answer["peak_mb"] for answer in answers[name])),
            "recompiles": answers[name][-1]["recompiles"],
            "seconds_to_start": round(answers[name][-1]["start"], 1),
        }
    return result


def split(passes: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median seconds of the parts; `rest` is the time outside of them."""
    middle = {part: statistics.median(own["parts"][part] for own in passes) for part in PARTS}
    rest = statistics.median(own["seconds"] - sum(own["parts"].values()) for own in passes)
    return {**middle, "rest": rest, "update": statistics.median(own["seconds"] for own in passes)}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return speeds, parts of an update and operations."""
    headings = ["size", "precision", "program", "source + target tokens/s", "target tokens/s", "speed-up of "
                "paper-transformer (min to max)", "MFU", "peak memory (MB)", "start (s)", "recompiles"]  # fmt: skip
    speeds = [
        [size, precision, program, *speed_cells(program, own)]
        for size, precision, cell in cells(result)
        for program, own in cell.items()
        if isinstance(own, dict) and "median" in own
    ]
    names = (*PARTS, "rest")
    parts = [
        [size, precision, f"{own['update']:.3f}", *(f"{own[name] / own['update']:.1%}" for name in (*names, "data"))]
        for size, precision, cell in cells(result)
        for own in [cell["seconds_of_an_update"]]
    ]
    operations = [
        [size, precision, ", ".join(f"`{name}` {share:.1%}" for name, share in cell["operations"].items())]
        for size, precision, cell in cells(result)
        if "operations" in cell
    ]
    columns = ["size", "precision", "seconds per update", *names, "batch preparation, in parallel"]
    return {
        "training": [table(headings, speeds, about(result))],
        "training_split": [table(columns, parts)],
        "training_operations": [table(["size", "precision", "operations and their share of the time"], operations)],
    }


def speed_cells(program: str, own: dict[str, Any]) -> list[str]:
    """Return the cells of one program."""
    times = "" if program == PAPER_TRANSFORMER else show_spread(own["speed_up"])
    speeds = f"{own['median']:,.0f}", f"{own['target_tokens_per_second']:,.0f}"
    costs = f"{own['peak_mb']:,}", f"{own['seconds_to_start']:.0f}", str(own["recompiles"])
    return [*speeds, times, f"{own['mfu']:.0%}", *costs]


def about(result: dict[str, Any]) -> str:
    """Return a paragraph about each size, and one about the matrix products."""
    lines = []
    for size in (size for size in SIZES if size in result):
        model, batches = result[size]["model"], result[size]["batches"]
        lines.append(
            f"{size}: d_model {model['d_model']}, {model['n_layers']}+{model['n_layers']} layers, vocabulary of "
            f"{model['vocab_size']:,}; updates of {batches['tokens_per_update']:,} source and target tokens, "
            f"{batches['buckets']} length buckets, {batches['padding_of_an_epoch']:.1%} padding; sentences as long as "
            f"those {result['lengths']}."
        )
    best = {(size, precision): max(cell["limits"].values()) for size, precision, cell in cells(result)}
    shown = ", ".join(f"{rate:,.0f} ({size}, {precision})" for (size, precision), rate in best.items())
    lines.append(f"The best matrix product of the same run, in GFLOP/s: {shown}; {result['threads']} threads.")
    return "\n\n".join(lines)


def cells(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield size, precision and what was measured."""
    for size in (size for size in SIZES if size in result):
        for precision, name in PRECISIONS.items():
            if precision in result[size]:
                yield size, name, result[size][precision]


if __name__ == "__main__":
    run_command(main)
