"""How fast we train beside the MarianMTModel of `transformers` and `torch.nn.Transformer`, and how far from the limit.

    python benchmarks/training.py --data train.en train.de
    python benchmarks/training.py --device cuda --sizes base big --precisions bf16 --compile ours marian
    python benchmarks/training.py --quick                 # a rehearsal in seconds; writes nothing

Sizes: 256/3+3 with 4,000 pieces, base and, on a GPU, big; precision fp32 (`no`) and bf16 (autocast). Every program
learns the same batches, those of the plan's updates from 200 on. Sentences are as long as those of --data, or of the
built-in corpus, in pieces of a vocabulary of their own; ids are random. All models have random weights, the same shape,
dropout where the paper has it, and label smoothing. Ours learns through train.trainer.Updater with all its checks, the
others in the plain loop: forward, F.cross_entropy, backward, fused Adam. In bf16 on a CPU our trainer does without
fused attention, whose backward is slow there; it makes the others faster, too, so they have it as well. --compile adds
programs under torch.compile, which first learn one batch of every shape of the plan's first 200 updates; graphs made
after that are recompiles. On a CPU that takes minutes.

Every program has a process of its own (benchmarks/learners.py) and waits while another learns; they take turns in
rounds, with the matrix products of the limit, so that what else the machine does slows all alike. A token is one of
the source or the target, EOS counted, padding not. Batches are made before the clock starts, for all. Passes of their
own, which the speeds do not see, tell the parts of our update, and (--profile) its operations; `data` is making its
batches, which our loop does in a thread beside. FLOP are those of the products with weights, 6 for each weight a token
meets (train/doctor/flops.py); MFU is their rate over that of the best product. Peak memory is what a process takes
for model, optimizer and learning; on a processor its libraries and the batches are not counted, on a GPU it is what
PyTorch has reserved.

Not compared: eole 0.6.4 and JoeyNMT 2.3.0. Their wheels are to be had, but eole brings spacy, fasttext, fastapi,
torchcodec and a pinned protobuf, JoeyNMT a protobuf below 3.21, pylint and plotly; and both build a model only from
their own configuration and vocabulary.

Writes benchmarks/results/training.json. Needs `pip install 'paper-transformer[bench]'`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.learners import PARTS, Task, Work, save_work
from benchmarks.machine import describe_machine, write_result
from benchmarks.workers import Worker
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

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "performance-trace.png"
SIZES = {
    "small": ModelConfig(vocab_size=4000, d_model=256, n_layers=3, n_heads=4, d_ff=1024),
    "base": ModelConfig(),
    "big": ModelConfig(d_model=1024, d_ff=4096, n_heads=16, dropout=0.3),
}
TOKENS = {"cpu": {"small": 2500, "base": 4096, "big": 4096}, "cuda": {"small": 2500, "base": 25_000, "big": 25_000}}
"""Of an update, on each side, where --tokens does not say it."""
NAMES = {"ours": "ours", "marian": "transformers MarianMTModel", "torch": "torch.nn.Transformer"}
SETTLED = 200
"""Updates after which there shall be no recompiles; what is timed comes next."""
SEED = 1
PRODUCTS = {
    "cpu": ((2048, 512, 2048), (2048, 2048, 512), (2048, 1024, 4096)),
    "cuda": ((2048, 512, 2048), (8192, 1024, 4096), (8192, 8192, 8192)),
}
"""(rows, in, out) of the products that are the limit; the first is of base's feed-forward network."""


@dataclass(frozen=True)
class Batches:
    """What all programs of a cell learn, on the disk, and what is known of it."""

    timed: Path
    first: Path
    """One of its updates, to warm up with; a compiled program warms up with `every_shape`."""
    every_shape: Path
    src_tokens: int
    tgt_tokens: int
    about: dict[str, Any]


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=2, type=Path, metavar=("SOURCE", "TARGET"), help="text files, line by line")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "base"])
    parser.add_argument("--precisions", nargs="+", choices=("no", "bf16"), default=["no", "bf16"])
    parser.add_argument("--compile", nargs="+", choices=NAMES, default=[], metavar="PROGRAM", help=", ".join(NAMES))
    parser.add_argument("--tokens", type=int, help="of an update on each side; otherwise each size has its own")
    parser.add_argument("--shapes", type=int, default=24, help="batch shapes of the plan")
    parser.add_argument("--max-length", type=int, default=64, help="tokens; pairs with a longer side are dropped")
    parser.add_argument("--updates", type=int, default=3, help="that are timed in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--profile", action="store_true", help="our operations, and a picture of the first size")
    parser.add_argument("--picture", type=Path, help="of the profile; otherwise docs/performance-trace.png")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: little data, few rounds, no file")
    return parser.parse_args()


def main() -> None:
    """Measure every cell, and write."""
    args = parse_args()
    if args.quick:
        args.sizes, args.precisions, args.rounds, args.updates = args.sizes[:1], args.precisions[-1:], 2, 1
        args.tokens = args.tokens or 1000
    torch.set_num_threads(args.threads)
    result: dict[str, Any] = {
        **{name: getattr(args, name) for name in ("threads", "device", "rounds", "updates", "max_length")},
        "lengths": "of a corpus" if args.data else "of the built-in corpus",
        "machine": describe_machine(),
    }
    result["machine"]["versions"]["transformers"] = version("transformers")
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        lengths = read_lengths(args, Path(folder))
        for size in args.sizes:
            result[size] = compare(args, size, lengths, Path(folder) / size)
    if args.quick:
        print(json.dumps(result, indent=2))
    else:
        write_result("training" if args.device == "cpu" else "training_gpu", result)


def read_lengths(args: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """Tokens of every source and target, after the filters, in the pieces of a vocabulary that is learned of them."""
    corpus: Any = [str(file) for file in args.data] if args.data else "grammar"
    pieces, pairs = 4000 if args.data else 2000, 4000 if args.quick else 40_000
    config = DataConfig(train=corpus, vocab_size=pieces, grammar_pairs=pairs, max_length=args.max_length)
    prepared = prepare(config, folder / "cache", args.threads, quiet=True)
    return prepared.train.src_lengths, prepared.train.tgt_lengths


def compare(args: argparse.Namespace, size: str, lengths: tuple[Any, Any], folder: Path) -> dict[str, Any]:
    """Every precision of one size."""
    config = SIZES[size]
    batches = make_batches(args, config, args.tokens or TOKENS[args.device][size], lengths, folder)
    flop = update_flops(build(config), config, 0, batches.src_tokens, batches.tgt_tokens)
    result: dict[str, Any] = {"model": asdict(config), "batches": batches.about, "gflop": round(flop / 1e9, 1)}
    programs = [(name, False) for name in NAMES] + [(name, True) for name in args.compile]
    for precision in args.precisions:
        print(f"{size}, precision {precision}", file=sys.stderr, flush=True)
        tasks = {
            NAMES[program] + " compiled" * compiled: Task(
                program,
                compiled,
                precision,
                asdict(config),
                str(batches.timed),
                str(batches.every_shape if compiled else batches.first),
                args.device,
                args.threads,
            )
            for program, compiled in programs
        }
        measured = in_turn(tasks, args, precision)
        cell = {"limits": measured["products"], **summarise(measured["answers"], batches, flop, measured["products"])}
        seconds = {"data": batches.about["seconds_to_make_an_update"], **split(measured["split"])}
        cell["seconds_of_our_update"] = {part: round(own, 5) for part, own in seconds.items()}
        if args.profile:
            cell["our_operations"] = measured["profile"]["operations"]
            if size == args.sizes[0] and precision == args.precisions[-1]:
                target = args.picture or (folder / "picture.png" if args.quick else PICTURE)
                draw(measured["profile"]["stacks"], f"One update of {size}, precision {precision}", target)
        result[precision] = cell
    return result


def make_batches(
    args: argparse.Namespace, config: ModelConfig, tokens: int, lengths: tuple[Any, Any], folder: Path
) -> Batches:
    """The plan's updates from `SETTLED` on, and a batch of each shape that comes before, as train/loop.py has them."""
    folder.mkdir()
    ids = random_ids(lengths, config.vocab_size, folder)
    plan = BatchPlan(*lengths, tokens_per_update=tokens, per_update=4, max_buckets=args.shapes, seed=SEED)
    split = choose_split(plan.shapes, plan.per_update, world_size=1, micro_tokens=None)

    def make(update: Update) -> Work:
        return update, [ids.batch(micro_batch) for micro_batch in update.micro_batches(split, world_size=1)]

    updates = [plan.update(step) for step in range(SETTLED, SETTLED + args.updates)]
    make(updates[0])  # warms up
    started = time.perf_counter()
    work = [make(update) for update in updates]
    seconds = (time.perf_counter() - started) / len(work)
    seen: dict[tuple[int, ...], MicroBatch] = {}
    for step in range(SETTLED):
        for batch in plan.update(step).bucket_batches:
            seen.setdefault((len(batch.indices), batch.src_len, batch.tgt_len), batch)
    shapes = [make(Update(step, (batch,), 1, batch.indices.size)) for step, batch in enumerate(seen.values())]
    files = {"timed": work, "first": work[:1], "every_shape": shapes}
    for name, own in files.items():
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
        "shapes_of_the_plan": len(plan.buckets),
        "shapes_in_200_updates": len(seen),
        "seconds_to_make_an_update": seconds,
    }
    return Batches(folder / "timed", folder / "first", folder / "every_shape", src_tokens, tgt_tokens, about)


def random_ids(lengths: tuple[Any, Any], vocab_size: int, folder: Path) -> SentencePairs:
    """Random pieces in these lengths, each sentence with EOS."""
    drawn = np.random.default_rng(SEED)
    for side, own in zip(("src", "tgt"), lengths, strict=True):
        with TokenStoreWriter(folder / f"train.{side}", vocab_size) as writer:
            writer.append([*drawn.integers(EOS_ID + 1, vocab_size, n - 1).tolist(), EOS_ID] for n in own)
    return SentencePairs.open(folder, "train")


def in_turn(tasks: dict[str, Task], args: argparse.Namespace, precision: Literal["no", "bf16"]) -> dict[str, Any]:
    """What every program answered in every round, the products' medians, and our parts and operations."""
    workers: dict[str, Worker] = {}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    products: list[dict[str, float]] = []
    try:
        for name, task in tasks.items():
            workers[name] = Worker("learners.py", asdict(task))
            answers[name].append(workers[name].ready)
        for _ in range(args.rounds):
            products.append(measure_products(args.device, precision))
            for name, worker in workers.items():
                answers[name].append(worker.ask("time"))
        passes = [workers["ours"].ask("split") for _ in range(args.rounds)]
        result: dict[str, Any] = {"answers": answers, "split": passes}
        if args.profile:
            result["profile"] = workers["ours"].ask("profile")
    finally:
        for worker in workers.values():
            worker.close()
    medians = {name: round(statistics.median(own[name] for own in products), 1) for name in products[0]}
    return {**result, "products": medians}


@torch.inference_mode()
def measure_products(device: str, precision: Literal["no", "bf16"], repeats: int = 5) -> dict[str, float]:
    """GFLOP/s of each of `PRODUCTS`, the median of a few."""
    rates = {}
    for rows, inner, outer in PRODUCTS[device]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        x = torch.randn(rows, inner, device=device, dtype=dtype)
        weight = torch.randn(outer, inner, device=device, dtype=dtype)
        seconds = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            F.linear(x, weight)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        rates[f"{rows}x{inner}x{outer}"] = 2 * rows * inner * outer / statistics.median(seconds[1:]) / 1e9
    return rates


def summarise(
    answers: dict[str, list[dict[str, Any]]], batches: Batches, flop: float, products: dict[str, float]
) -> dict[str, Any]:
    """Tokens per second of each program in every round, how many times as fast ours is in the same round (median,
    lowest, highest), MFU, memory and recompiles. The first answer of each is the one after warming up."""
    tokens, result = batches.src_tokens + batches.tgt_tokens, {}
    speeds = {name: [tokens / answer["seconds"] for answer in own[1:]] for name, own in answers.items()}
    first = next(iter(products.values()))
    for name, own in speeds.items():
        ratios = [ours / other for ours, other in zip(speeds["ours"], own, strict=True)]
        middle = statistics.median(own)
        gflops = middle / tokens * flop / 1e9
        result[name] = {
            "tokens_per_second": [round(speed, 1) for speed in own],
            "median": round(middle, 1),
            "target_tokens_per_second": round(middle * batches.tgt_tokens / tokens, 1),
            "ours_is_times_as_fast": [round(pick(ratios), 3) for pick in (statistics.median, min, max)],
            "gflop_per_second": round(gflops, 1),
            "mfu": round(gflops / max(products.values()), 3),
            "share_of_the_first_product": round(gflops / first, 3),
            "peak_mb": round(max(answer["peak_mb"] for answer in answers[name][1:])),
            "graphs": answers[name][-1]["graphs"],
            "recompiles": answers[name][-1]["graphs"] - answers[name][0]["graphs"],
        }
    return result


def split(passes: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of the parts over the passes; `rest` is what none of them is."""
    middle = {part: statistics.median(own["parts"][part] for own in passes) for part in PARTS}
    rest = statistics.median(own["seconds"] - sum(own["parts"].values()) for own in passes)
    return {**middle, "rest": rest, "update": statistics.median(own["seconds"] for own in passes)}


def draw(stacks: dict[str, float], title: str, target: Path) -> None:
    """A flame picture: the wider a box, the more of the time; above it stands what happened in it. A path of names has
    one box, however often it was taken."""
    from matplotlib import pyplot
    from matplotlib.patches import Patch, Rectangle

    boxes = flame_boxes(stacks)
    height = max(depth for depth, *_ in boxes) + 1
    colours = {part: pyplot.get_cmap("Set2")(i) for i, part in enumerate((*PARTS, "rest"))}
    figure, axes = pyplot.subplots(figsize=(18, 0.42 * height + 1.2))
    for depth, start, width, name, part in boxes:
        axes.add_patch(Rectangle((start, depth), width, 1, facecolor=colours[part], edgecolor="white", linewidth=0.5))
        room = int(width / 0.0049)  # letters
        shown = name.removeprefix("aten::").removesuffix("Backward0")
        shown = f"{shown} {width:.0%}" if len(shown) + 5 <= room else shown[:room]
        if len(shown) > 2:
            axes.text(start + width / 2, depth + 0.5, shown, ha="center", va="center", fontsize=8)
    shares = {part: f"{part} {width:.1%}" for depth, _, width, _, part in boxes if depth == 0}
    axes.legend(handles=[Patch(color=colours[part], label=text) for part, text in shares.items()], loc="upper right")
    axes.set(xlim=(0, 1), ylim=(0, height + 1), yticks=[], xlabel="share of the time", title=title)
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.savefig(target, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def flame_boxes(stacks: dict[str, float], smallest: float = 0.002) -> list[tuple[int, float, float, str, str]]:
    """(depth, start, width, name, outermost name) of each path that takes at least `smallest` of the time; starts and
    widths are shares of it. The outermost stand in the order of `PARTS`, others by width."""
    total: dict[tuple[str, ...], float] = {}
    for stack, own in stacks.items():
        names = tuple(stack.split(";"))
        for depth in range(len(names) + 1):
            total[names[:depth]] = total.get(names[:depth], 0.0) + own
    boxes: list[tuple[int, float, float, str, str]] = []

    def place(path: tuple[str, ...], start: float) -> None:
        children = [name for name in total if len(name) == len(path) + 1 and name[:-1] == path]
        order = [*PARTS, "rest"]
        children.sort(key=lambda name: order.index(name[0]) if not path else -total[name])
        for child in children:
            width = total[child] / total[()]
            if width >= smallest:
                boxes.append((len(path), start, width, child[-1], child[0]))
                place(child, start)
            start += width

    place((), 0.0)
    return boxes


if __name__ == "__main__":
    run_command(main)
