"""Compare the decoding speed of paper-transformer, CTranslate2 and `MarianMTModel` with the hardware limit.

    python -m benchmarks.decoding --model runs/x --source test.en
    python -m benchmarks.decoding --device cuda --batches 32 128 512
    python -m benchmarks.decoding --smoke-test

Two model sizes: small (that of --model, or d_model 256 with 3+3 layers and random weights) and base (random weights);
beams 1 and 4; batches of 1 and 32 sentences. In `forced`, every output has exactly --tokens tokens. In `natural`,
sentences end by themselves; this needs a trained model, and Marian cannot use its weights, so it is omitted. The
sources are as long as the sentences of --source, or of the built-in corpus.

Every program has its own process and waits while another one decodes. They take turns in rounds, so that other load on
the machine slows all of them. Tokens are those of the best output, with EOS; other hypotheses do not count. Each
program stops its search by its own rule; paper-transformer stops when no live hypothesis can win, under GNMT's penalty
with α 0.6. Peak memory is what a process uses for model and decoding, without its libraries.

Writes benchmarks/results/decoding.json (on a GPU decoding_gpu.json) after every cell, so that a stopped run keeps
what it has measured. Needs `pip install -e '.[bench]'`.
"""

import argparse
import itertools
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from operator import truediv
from pathlib import Path
from typing import Any

import torch

from benchmarks.programs import decode_ctranslate2, decode_paper_transformer, marian
from benchmarks.programs.decoding import DecodeTask
from benchmarks.roofline import BYTES, decoding_work, fastest, measure_machine
from benchmarks.runner import (
    Start,
    Table,
    Tables,
    command_line,
    compare_speeds,
    new_result,
    running,
    save,
    say,
    show_spread,
    table,
    take_turns,
    write,
)
from common.command import run_command
from common.errors import InputError
from common.text_input import read_lines
from data_pipeline.builtin.grammar import generate
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from transformer.config import ModelConfig
from transformer.formats.ctranslate2 import import_ctranslate2, make_spec, read_pieces
from transformer.model import Transformer, build
from transformer.pretrained import find_folder, load_pretrained
from transformer.weights import get_weights

SMALL = ModelConfig(vocab_size=4000, d_model=256, n_layers=3, n_heads=4, d_ff=1024)
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]
PAPER_TRANSFORMER, MARIAN, CTRANSLATE2 = "paper-transformer", "MarianMTModel", "CTranslate2"
STARTS: dict[str, Start] = {
    PAPER_TRANSFORMER: decode_paper_transformer.start,
    MARIAN: marian.start_decoding,
    CTRANSLATE2: decode_ctranslate2.start,
}
CPU = {
    PAPER_TRANSFORMER: "float32",
    f"{PAPER_TRANSFORMER} bfloat16": "bfloat16",
    f"{PAPER_TRANSFORMER} int8": "int8",
    MARIAN: "float32",
    f"{CTRANSLATE2} float32": "float32",
    f"{CTRANSLATE2} int8": "int8",
}
GPU = {
    PAPER_TRANSFORMER: "bfloat16",
    f"{PAPER_TRANSFORMER} float16": "float16",
    MARIAN: "float16",
    CTRANSLATE2: "float16",
}


@dataclass(frozen=True)
class SavedModel:
    """One model in the formats that the programs read."""

    config: ModelConfig
    weights: Path
    exported: Path
    trained: bool


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = command_line(__doc__, rounds=5, threads=2, device=True)
    parser.add_argument("--model", help="trained model folder (default: random weights of the small size)")
    parser.add_argument("--source", type=Path, help="text whose sentence lengths the sources have")
    parser.add_argument("--sizes", nargs="+", choices=("small", "base"), default=["small", "base"])
    parser.add_argument("--programs", nargs="+", choices=STARTS, default=list(STARTS), help="default: all")
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32], help="sentences per batch")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of every output in `forced`")
    parser.add_argument("--profile", action="store_true", help="also measure which operations take the time")
    return parser.parse_args()


def main() -> None:
    """Measure every cell and save the result."""
    args = parse_args()
    if CTRANSLATE2 in args.programs:
        import_ctranslate2()
    if args.smoke_test:
        args.rounds, args.tokens, args.sizes = 2, 6, ["small"]
    torch.set_num_threads(args.threads)
    packages = {MARIAN: "transformers", CTRANSLATE2: "ctranslate2"}
    versions = {name: version(name) for program, name in packages.items() if program in args.programs}
    result = new_result(threads=args.threads, device=args.device, versions=versions, limits={})
    name = "decoding" if args.device == "cpu" else "decoding_gpu"
    with tempfile.TemporaryDirectory(prefix="decoding-") as folder:
        for size in args.sizes:
            for own in compare(args, save_model(args, size, Path(folder) / size)):
                result[size] = own
                set_limits(result, measure_machine(args.device))
                write(name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    save(name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def save_model(args: argparse.Namespace, size: str, folder: Path) -> SavedModel:
    """Write the model in the formats that the programs read."""
    folder.mkdir()
    if size == "small" and args.model:
        source = find_folder(args.model)
        model, config = load_pretrained(source)
        subwords = read_pieces(source / "tokenizer.model", config.vocab_size)
    else:
        config = SMALL if size == "small" else ModelConfig()
        torch.manual_seed(1)
        model = build(config)
        subwords = SPECIAL + [f"piece{i}" for i in range(len(SPECIAL), config.vocab_size)]
    assert isinstance(model, Transformer)
    torch.save(get_weights(model), folder / "weights.pt")
    if CTRANSLATE2 in args.programs:
        spec = make_spec(model, subwords)
        spec.validate()
        spec.optimize(quantization="float32")
        (folder / "exported").mkdir()
        spec.save(str(folder / "exported"))
    return SavedModel(config, folder / "weights.pt", folder / "exported", size == "small" and args.model is not None)


def compare(args: argparse.Namespace, model: SavedModel) -> Iterator[dict[str, Any]]:
    """Measure every cell of one model; yield the result of the model after each."""
    sources = read_sources(args, model)
    result: dict[str, Any] = {"model": asdict(model.config), "trained": model.trained}
    modes = [("forced", args.tokens)] + ([("natural", None)] if model.trained else [])
    for (mode, tokens), beam, batch in itertools.product(modes, args.beams, args.batches):
        tasks: dict[str, tuple[Start, DecodeTask]] = {}
        for name, dtype in (CPU if args.device == "cpu" else GPU).items():
            program = name.split()[0]
            if program in args.programs and (mode == "forced" or program != MARIAN):
                file = str(model.exported if program == CTRANSLATE2 else model.weights)
                common = (sources[:batch], beam, tokens, args.device, args.threads)
                tasks[name] = STARTS[program], DecodeTask(dtype, asdict(model.config), file, *common)
        key = f"{mode}, beam {beam}, batch {batch}"
        say(key)
        cell = measure(tasks, args)
        if mode == "forced":
            cell["limit"] = decoding_work(model.config, sources[:batch], beam, args.tokens, BYTES[args.device])
        if args.profile:
            cell["operations"] = profile(tasks[PAPER_TRANSFORMER][1])
        result[key] = cell
        yield result


def set_limits(result: dict[str, Any], measured: dict[str, float]) -> None:
    """Set the hardware limit of every cell, and the share of it that each program reaches.

    The machine is measured after every cell. Its limit is the best of these figures: other load lowers them.
    """
    known = result["limits"]
    result["limits"] = limits = {key: max(value, known.get(key, 0)) for key, value in measured.items()}
    for _, _, cell in cells(result):
        if limit := cell.get("limit"):
            limit["tokens_per_second"] = round(fastest(limit, limits), 1)
            for own in (own for own in cell.values() if "median" in own):
                own["share_of_the_limit"] = round(own["median"] / limit["tokens_per_second"], 3)


def read_sources(args: argparse.Namespace, model: SavedModel) -> list[list[int]]:
    """Return the sources of the largest batch: sentences for a trained model, random tokens of the same lengths
    otherwise. Raises InputError if the text has too few sentences."""
    lines = list(read_lines(args.source)) if args.source else [english for english, _ in generate("test", 2000, seed=1)]
    lines = [line for line in lines if line.strip()]
    random.Random(1).shuffle(lines)
    if args.model:
        encoded = Tokenizer(find_folder(args.model) / "tokenizer.model").encode(lines[: max(args.batches)])
    else:
        encoded = [[EOS_ID] * (len(line.split()) * 4 // 3 + 1) for line in lines[: max(args.batches)]]
    if len(encoded) < max(args.batches):
        raise InputError(f"the text has {len(encoded)} sentences, fewer than a batch of {max(args.batches)}")
    if model.trained:
        return encoded
    random_ids = random.Random(2)
    return [[random_ids.randrange(EOS_ID + 1, model.config.vocab_size) for _ in ids[1:]] + [EOS_ID] for ids in encoded]


def measure(tasks: Mapping[str, tuple[Start, DecodeTask]], args: argparse.Namespace) -> dict[str, Any]:
    """Return tokens per second of each program in every round, the speed-up of paper-transformer in the same round
    (median, minimum, maximum) and the peak memory."""
    with running(tasks, args.device, args.threads) as programs:
        turns = {name: partial(program.ask, "decode") for name, program in programs.items()}
        answers = take_turns(turns, args.rounds)
    speeds = {name: [answer["tokens"] / answer["seconds"] for answer in own] for name, own in answers.items()}
    return {
        name: compared
        | {
            "dtype": tasks[name][1].dtype,
            "tokens": answers[name][0]["tokens"],
            "peak_mb": round(max(answer["peak_mb"] for answer in answers[name])),
        }
        for name, compared in compare_speeds(speeds, PAPER_TRANSFORMER, of_reference=True).items()
    }


def profile(task: DecodeTask) -> dict[str, float]:
    """Return the share of the time of each of the 15 slowest operations, from PyTorch's profiler."""
    decode = decode_paper_transformer.load(task)
    decode()
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if task.device == "cuda" else []
    with torch.profiler.profile(activities=activities) as profiler:
        decode()
    own = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(own.values())
    return {name: round(own[name] / total, 3) for name in sorted(own, key=lambda name: -own[name])[:15]}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return speeds, hardware limits and operations."""
    headings = ["outputs", "program", "tokens/s", "speed-up of paper-transformer (min to max)", "share of the hardware "
                "limit", "peak memory (MB)"]  # fmt: skip
    decoding = []
    for size, name, cell in cells(result):
        if name == next(key for key in result[size] if ", beam " in key):
            model, trained = result[size]["model"], "trained" if result[size]["trained"] else "random weights"
            layers = f"{model['n_layers']}+{model['n_decoder_layers'] or model['n_layers']} layers"
            decoding.append(
                table([], [], f"d_model {model['d_model']}, {layers}, {model['vocab_size']:,} subwords, {trained}:")
            )
        programs = [(program, own) for program, own in cell.items() if "median" in own]
        decoding.append(table(headings, ([name, program, *speed_cells(program, own)] for program, own in programs)))
    limits, can = [], result["limits"]
    for size, name, cell in cells(result):
        if own := cell.get("limit"):
            work = [f"{own[key]:,.0f}" for key in ("mflop_per_step", "mb_per_step", "tokens_per_second")]
            limits.append([size, name, *work])
    note = (
        f"Measured in the same run: {can['matmul_gflop_per_second']:,.0f} GFLOP/s of matrix products, "
        f"{can['copy_gb_per_second']:.0f} GB/s of copying; {result['threads']} threads."
    )
    operations = [
        [size, name, ", ".join(f"`{key}` {share:.0%}" for key, share in list(cell["operations"].items())[:8])]
        for size, name, cell in cells(result)
        if "operations" in cell and name.startswith("forced, beam 4")
    ]
    return {
        "fastest": [make_ratios(result)],
        "decoding": decoding,
        "limits": [table(["size", "outputs", "MFLOP per step", "MB per step", "limit (tokens/s)"], limits, note)],
        "operations": [table(["size", "outputs", "operations and their share of the time"], operations)],
    }


def make_ratios(result: dict[str, Any]) -> Table:
    """Return how many times as fast the fastest number format of paper-transformer is: medians of the rounds."""
    measured = [
        (size, name, {program: own["tokens_per_second"] for program, own in cell.items() if "median" in own})
        for size, name, cell in cells(result)
    ]
    others = list(dict.fromkeys(other for _, _, speeds in measured for other in speeds if not is_ours(other)))
    rows = []
    for size, name, speeds in measured:
        best = max(filter(is_ours, speeds), key=lambda program: statistics.median(speeds[program]))
        ratios = [
            f"{statistics.median(map(truediv, speeds[best], speeds[other])):.2f}" if other in speeds else ""
            for other in others
        ]
        rows.append([size, name, result[size][name][best]["dtype"], *ratios])
    headings = ["size", "outputs", "fastest number format of paper-transformer"]
    return table([*headings, *(f"times as fast as {other}" for other in others)], rows)


def is_ours(program: str) -> bool:
    """Return whether a program is paper-transformer in some number format."""
    return program.split()[0] == PAPER_TRANSFORMER


def speed_cells(program: str, own: dict[str, Any]) -> list[str]:
    """Return the cells of one program."""
    times = "" if program == PAPER_TRANSFORMER else show_spread(own["speed_up"])
    share = f"{own['share_of_the_limit']:.0%}" if "share_of_the_limit" in own else ""
    return [f"{own['median']:,.0f}", times, share, f"{own['peak_mb']:,}"]


def cells(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield size, mode with beam and batch, and what was measured."""
    for size in ("small", "base"):
        for name, cell in result.get(size, {}).items():
            if ", beam " in name:
                yield size, name, cell


if __name__ == "__main__":
    run_command(main)
