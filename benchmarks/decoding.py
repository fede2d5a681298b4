"""How fast we decode beside CTranslate2 and the MarianMTModel of `transformers`, and how far all are from the limit.

    python benchmarks/decoding.py --model runs/x --source test.en
    python benchmarks/decoding.py --device cuda --batches 32 128 512
    python benchmarks/decoding.py --quick                 # a rehearsal in a minute; writes nothing

Two sizes, 256/3+3 (with --model the weights and the vocabulary are that model's) and base (random weights); beam 1 and
4; batch 1 and 32. In `forced` every program gives every sentence exactly --tokens tokens: no ending before, none after.
In `natural` sentences end by themselves, which needs a trained model; Marian cannot have its weights and is left out.
The sources are as long as the sentences of --source, or of the built-in corpus.

Every program has a process of its own (benchmarks/decoders.py) and waits while another decodes; they take turns in
rounds, so that what else the machine does slows all alike. A token is one of the best output, EOS counted; the other
hypotheses of the beam are not counted. Each searches by its own rule of when to stop: ours until no live hypothesis
can win, under GNMT's penalty with α 0.6. Peak memory is what a process takes for its model and for decoding, its
libraries not counted. Writes benchmarks/results/decoding.json. Needs `pip install 'paper-transformer[bench]'`.
"""

import argparse
import itertools
import json
import random
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch

from benchmarks.decoders import Task, ours
from benchmarks.machine import describe_machine, write_result
from benchmarks.roofline import measure_machine, roofline
from benchmarks.workers import Worker
from common.command import run_command
from common.errors import InputError
from data_pipeline.builtin.grammar import generate
from data_pipeline.sources.tables import read_lines
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from transformer.config import ModelConfig
from transformer.formats.ctranslate2 import import_ctranslate2, make_spec, read_pieces
from transformer.model import Transformer, build
from transformer.pretrained import find_folder, load_pretrained
from transformer.weights import get_weights

SMALL = ModelConfig(vocab_size=4000, d_model=256, n_layers=3, n_heads=4, d_ff=1024)
SPECIAL_PIECES = ["<pad>", "<unk>", "<s>", "</s>"]
CPU = {
    "ours": "float32",
    "ours bfloat16": "bfloat16",
    "marian": "float32",
    "ctranslate2 float32": "float32",
    "ctranslate2 int8": "int8",
}
GPU = {"ours": "bfloat16", "ours float16": "float16", "marian": "float16", "ctranslate2": "float16"}


@dataclass(frozen=True)
class Contestant:
    """One model in the forms that the programs read."""

    config: ModelConfig
    weights: Path
    exported: Path
    trained: bool


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained model folder, in the place of the small random one")
    parser.add_argument("--source", type=Path, help="text whose sentences say how long sources are")
    parser.add_argument("--sizes", nargs="+", choices=("small", "base"), default=["small", "base"])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--tokens", type=int, default=32, help="of every output in `forced`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--profile", action="store_true", help="also say in which operations our time goes")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: tiny, few rounds, no file")
    return parser.parse_args()


def main() -> None:
    """Measure every cell, and write."""
    args = parse_args()
    import_ctranslate2()
    if args.quick:
        args.rounds, args.tokens, args.sizes = 2, 6, ["small"]
    torch.set_num_threads(args.threads)
    result: dict[str, Any] = {"threads": args.threads, "device": args.device, "machine": describe_machine()}
    for name in ("transformers", "ctranslate2"):
        result["machine"]["versions"][name] = version(name)
    result["limits"] = measure_machine(args.device)
    with tempfile.TemporaryDirectory(prefix="decoding-") as folder:
        for size in args.sizes:
            model = prepare(args, size, Path(folder) / size)
            result[size] = compare(args, model, result["limits"])
    if args.quick:
        print(json.dumps(result, indent=2))
    else:
        write_result("decoding" if args.device == "cpu" else "decoding_gpu", result)


def prepare(args: argparse.Namespace, size: str, folder: Path) -> Contestant:
    """Write the model as the programs read it."""
    folder.mkdir()
    pieces: list[str]
    if size == "small" and args.model:
        source = find_folder(args.model)
        model, config = load_pretrained(source)
        pieces = read_pieces(source / "tokenizer.model", config.vocab_size)
    else:
        config = SMALL if size == "small" else ModelConfig()
        torch.manual_seed(1)
        model = build(config)
        pieces = SPECIAL_PIECES + [f"piece{i}" for i in range(len(SPECIAL_PIECES), config.vocab_size)]
    assert isinstance(model, Transformer)
    torch.save(get_weights(model), folder / "weights.pt")
    spec = make_spec(model, pieces)
    spec.validate()
    spec.optimize(quantization="float32")
    (folder / "exported").mkdir()
    spec.save(str(folder / "exported"))
    return Contestant(config, folder / "weights.pt", folder / "exported", size == "small" and args.model is not None)


def compare(args: argparse.Namespace, model: Contestant, limits: dict[str, float]) -> dict[str, Any]:
    """Every cell of one model."""
    sources = read_sources(args, model)
    result: dict[str, Any] = {"model": asdict(model.config), "trained": model.trained}
    programs = CPU if args.device == "cpu" else GPU
    ways = [("forced", args.tokens)] + ([("natural", None)] if model.trained else [])
    for (way, tokens), beam, batch in itertools.product(ways, args.beams, args.batches):
        tasks = {}
        for name, dtype in programs.items():
            program = name.split()[0]
            if way == "natural" and program == "marian":
                continue
            where = model.exported if program == "ctranslate2" else model.weights
            config = asdict(model.config)
            tasks[name] = Task(
                program, dtype, config, str(where), sources[:batch], beam, tokens, args.device, args.threads
            )
        key = f"{way}, beam {beam}, batch {batch}"
        print(key, file=sys.stderr, flush=True)
        cell = in_turn(tasks, args.rounds)
        if way == "forced":
            floor = roofline(model.config, sources[:batch], beam, args.tokens, limits)
            for own in cell.values():
                own["share_of_the_limit"] = round(own["median"] / floor["tokens_per_second"], 3)
            cell["limit"] = floor
        if args.profile:
            cell["our_operations"] = profile_ours(tasks["ours"])
        result[key] = cell
    return result


def read_sources(args: argparse.Namespace, model: Contestant) -> list[list[int]]:
    """As many sources as the largest batch has: the sentences themselves for a trained model, and for a random one
    random tokens in their lengths."""
    lines = list(read_lines(args.source)) if args.source else [english for english, _ in generate("test", 2000, seed=1)]
    lines = [line for line in lines if line.strip()]
    random.Random(1).shuffle(lines)
    if args.model:
        encoded = Tokenizer(find_folder(args.model) / "tokenizer.model").encode(lines[: max(args.batches)])
    else:
        encoded = [[EOS_ID] * (len(line.split()) * 4 // 3 + 1) for line in lines[: max(args.batches)]]
    if len(encoded) < max(args.batches):
        raise InputError(f"there are {len(encoded)} sentences, fewer than a batch of {max(args.batches)}")
    if model.trained:
        return encoded
    drawn = random.Random(2)
    return [[drawn.randrange(EOS_ID + 1, model.config.vocab_size) for _ in ids[1:]] + [EOS_ID] for ids in encoded]


def in_turn(tasks: dict[str, Task], rounds: int) -> dict[str, Any]:
    """Tokens per second of each program in every round, their median, how many times as fast as ours of the same
    round (median, lowest, highest), and the peak memory."""
    workers: dict[str, Worker] = {}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    try:
        for name, task in tasks.items():
            workers[name] = Worker("decoders.py", asdict(task))
        for _, (name, worker) in itertools.product(range(rounds), workers.items()):
            answers[name].append(worker.ask(""))
    finally:
        for worker in workers.values():
            worker.close()
    speeds = {name: [answer["tokens"] / answer["seconds"] for answer in own] for name, own in answers.items()}
    result = {}
    for name, own in speeds.items():
        ratios = [ours / other for ours, other in zip(speeds["ours"], own, strict=True)]
        result[name] = {
            "dtype": tasks[name].dtype,
            "tokens": answers[name][0]["tokens"],
            "tokens_per_second": [round(speed, 1) for speed in own],
            "median": round(statistics.median(own), 1),
            "ours_is_times_as_fast": [round(pick(ratios), 3) for pick in (statistics.median, min, max)],
            "peak_mb": round(max(answer["peak_mb"] for answer in answers[name])),
        }
    return result


def profile_ours(task: Task) -> dict[str, float]:
    """The share of the time that each of the costliest operations takes, by torch's profiler."""
    decode = ours(replace(task, device=task.device))
    decode()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if task.device == "cuda" else []
    with torch.profiler.profile(activities=kinds) as profile:
        decode()
    own = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(own.values())
    return {name: round(own[name] / total, 3) for name in sorted(own, key=lambda name: -own[name])[:15]}


if __name__ == "__main__":
    run_command(main)
