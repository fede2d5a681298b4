"""Measure everything that needs a GPU in a quarter of an hour, the most wanted first.

    python -m benchmarks.gpu_run OUT                         # all parts
    python -m benchmarks.gpu_run OUT --parts decoding=200 check --budget 300
    python -m benchmarks.gpu_run OUT --smoke-test            # every part tiny, on a CPU
    python -m benchmarks.gpu_run OUT --parts prepare         # before, where `datasets` is installed: prepare the data

Parts in order, with the seconds that each may take:

    memory        100  benchmarks/gpu_memory.py: memory and speed of micro-batches, up to the largest that fits
    decoding      180  benchmarks/decoding.py: base, beam 4, batches of 32, 128 and 512 sentences
    check         120  benchmarks/gpu_check.py: two equal runs and a resumed one, bit by bit; fp32, bf16 and fp16
    train-1       120  benchmarks/training.py: base in bf16, 1 micro-batch per update
    loss           60  benchmarks/loss.py: output layer and loss, also compiled
    compiled-1    240  train-1 with and without torch.compile
    train-4       100  train-1 with 4 micro-batches per update, each a fourth as large
    train-fixed   200  torch.compile with 8 fixed shapes, without and with CUDA graphs
    train-others  150  MarianMTModel and torch.nn.Transformer
    all-compiled  300  the same with torch.compile
    multi30k           train --recipe on Multi30k for the time that is left, then report when it reached which BLEU

OUT/results.json has the results of all parts. It is written again whenever a part has measured something, so a run
that is stopped loses only what comes after. OUT/summary.txt has the tables and what became of each part, OUT/log.txt
what the parts printed. If a part fails or runs out of time, the next one starts anyway. The exit status is 1 if a part
failed. Without CTranslate2, `decoding` compares without it.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch

from benchmarks import decoding, gpu_check, gpu_memory, loss, time_to_bleu, training
from benchmarks.launch import TINY
from benchmarks.runner import ROOT, command_line, dump, say
from benchmarks.tables import render
from common.command import run_command
from common.errors import InputError
from common.settings import last_overrides, load_settings
from data_pipeline.prepared_data import prepare
from train.config import RunConfig

SECONDS = {
    **{"prepare": math.inf, "memory": 100, "decoding": 180, "check": 120, "train-1": 120, "loss": 60},
    **{"compiled-1": 240, "train-4": 100, "train-fixed": 200, "train-others": 150, "all-compiled": 300},
    **{"multi30k": math.inf},
}
TRAINING = "--sizes base --precisions bf16 --rounds 3 --updates 20"
COMPILED = "--others --compile paper-transformer"
OPTIONS = {
    **{f"train-{n}": f"{TRAINING} --others --per-update {n}" for n in (1, 4)},
    "compiled-1": f"{TRAINING} {COMPILED} --per-update 1",
    "train-fixed": f"{TRAINING} {COMPILED} --shapes fixed graphs --buckets 8 --per-update 1",
    "train-others": f"{TRAINING} --per-update 1",
    "all-compiled": f"{TRAINING} --compile {' '.join(training.STARTS)} --per-update 1",
    "loss": "--tokens 8192 --compile",
    "decoding": "--sizes base --beams 4 --batches 32 128 512 --rounds 3",
}
SMOKE_OPTIONS = {"decoding": "--batches 2 --beams 2", "loss": "--tokens 12 --compile"}
"""Options of a smoke test that replace those of `OPTIONS`."""
LEAST = 10
"""Seconds without which a part is not started."""


def main() -> None:
    """Run the parts, one process after the other."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.parts == ["prepare"]:
        return prepare_data(args)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    lines = [f"{gpu}, Python {sys.version.split()[0]}, torch {torch.__version__}"]
    until = time.monotonic() + args.budget
    with tempfile.TemporaryDirectory(prefix="gpu-run-") as work:
        args.cache = Path(work) / "cache" if args.smoke_test else args.cache
        for part, limit in [parse_part(text) for text in args.parts]:
            started = time.monotonic()
            limit = math.inf if args.smoke_test else min(limit, until - started)
            status = run_part(part, limit, args, Path(work))
            lines.append(f"{part:12}{time.monotonic() - started:8.0f} s  {status}")
            say(lines[-1])
            (args.out / "summary.txt").write_text("\n".join([*lines, "", *tables(args.out)]) + "\n", encoding="utf-8")
    sys.exit(0 if all(line.endswith(("  0", "no time")) for line in lines[1:]) else 1)


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = command_line(__doc__)
    parser.add_argument("out", type=Path, help="folder for results.json, summary.txt and log.txt")
    parser.add_argument("--parts", nargs="+", metavar="PART[=SECONDS]", default=list(SECONDS)[1:])
    parser.add_argument("--budget", type=float, default=840, help="seconds for all parts (default: 840)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/data"), help="data.cache_dir, filled by `prepare`")
    parser.add_argument("--data", type=Path, default=Path("data/multi30k"), help="train and val of Multi30k, also .gz")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/multi30k.yaml", help="config of `multi30k`")
    parser.add_argument("--bleu", nargs="+", default=["20", "25", "30", "35"], help="BLEU whose time is reported")
    return parser.parse_args()


def parse_part(text: str) -> tuple[str, float]:
    """Parse PART or PART=SECONDS. Raises InputError for another part."""
    part, _, seconds = text.partition("=")
    if part not in SECONDS:
        raise InputError(f"no part {part!r}; the parts are {', '.join(SECONDS)}")
    return part, float(seconds or SECONDS[part])


def run_part(part: str, limit: float, args: argparse.Namespace, work: Path) -> str:
    """Run the commands of a part; return the exit status, `time out` or `no time`."""
    if limit < LEAST:
        return "no time"
    folder, until, status = work / part, time.monotonic() + limit, "0"
    folder.mkdir()
    with (args.out / "log.txt").open("a", encoding="utf-8") as log:
        for command in commands(part, limit, args, folder):
            print(f"\n== {part}: {' '.join(command)}", file=log, flush=True)
            ended = run(command, max(LEAST, until - time.monotonic()), log, folder, args.out)
            status = ended if status == "0" else status
    return status


def run(command: list[str], limit: float, log: IO[str], folder: Path, out: Path) -> str:
    """Run a command, collect its results while it runs, and end it with all its processes after `limit` seconds."""
    until = time.monotonic() + limit
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, process_group=0)
    try:
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
            collect(folder, out)
        return "time out" if process.returncode is None else str(process.returncode)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        collect(folder, out)


def collect(folder: Path, out: Path) -> None:
    """Add the results of a part to OUT/results.json, and copy the settings and logs of a run."""
    results = read_results(out)
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    if found and results.get(folder.name) != found:
        (out / "results.new").write_text(dump(results | {folder.name: found}), encoding="utf-8")
        (out / "results.new").replace(out / "results.json")
    for file in ("config.yaml", "metrics.jsonl", "timing.jsonl"):
        if (folder / "run" / file).exists():
            shutil.copy(folder / "run" / file, out / f"{folder.name}_{file}")


def read_results(out: Path) -> dict[str, Any]:
    """Return the results so far, by part."""
    path = out / "results.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def tables(out: Path) -> Iterator[str]:
    """Yield the first table of every result as Markdown."""
    for part, found in read_results(out).items():
        for result in found.values():
            for shown in list(result["tables"].values())[:1]:
                yield f"## {part}\n\n{render(shown)}\n"


def commands(part: str, limit: float, args: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Return the commands of a part."""
    python, smoke = [sys.executable, "-m"], ["--smoke-test"] if args.smoke_test else []
    device = [*smoke, "--threads", "1"] if smoke else ["--device", "cuda"]
    out, cache = ["--out", str(folder)], ["--cache", str(args.cache)]
    options = (SMOKE_OPTIONS if smoke and part in SMOKE_OPTIONS else OPTIONS).get(part, "").split()
    match part:
        case "check":
            return [[*python, gpu_check.__name__, *smoke, *out, *cache]]
        case "memory":
            return [[*python, gpu_memory.__name__, *smoke, *out]]
        case "decoding":
            programs = [name for name in decoding.STARTS if name != decoding.CTRANSLATE2 or find_spec("ctranslate2")]
            return [[*python, decoding.__name__, *device, *out, *options, "--programs", *programs]]
        case "loss":
            return [[*python, loss.__name__, *device, *out, *options]]
        case "multi30k":
            ends = [f"train.max_hours={max(5, min(limit, 3600) - 40) / 3600}", "train.log_with=none"]
            settings = [*recipe_settings(args), f"data.cache_dir={args.cache}", f"run_dir={folder / 'run'}", *ends]
            recipe = ["--config", str(args.recipe), *last_overrides(settings)]
            report = [f"multi30k={folder / 'run'}", "--bleu", *args.bleu, *out]
            return [[sys.executable, "train/train.py", *recipe], [*python, time_to_bleu.__name__, *report]]
        case _:
            return [[*python, training.__name__, *device, *out, *cache, *options]]


def recipe_settings(args: argparse.Namespace) -> list[str]:
    """Return the data settings of `multi30k`; in a smoke test a tiny run."""
    if args.smoke_test:
        steps = ("train.max_steps=20", "batches.per_update=1", "validation.every=10", "validation.bleu_sentences=4")
        return [*TINY, "data.valid=null", "data.test=null", *steps]

    def pair(name: str) -> str:
        file = args.data.resolve() / name
        end = "" if file.with_suffix(".en").exists() else ".gz"
        return f"[{file}.en{end},{file}.de{end}]"

    return [f"data.train={pair('train')}", f"data.valid={pair('val')}", "data.test=null"]


def prepare_data(args: argparse.Namespace) -> None:
    """Prepare the data of all parts, so that they need neither network nor `datasets`."""
    gpu_check.prepare_data(args.cache)
    training.read_lengths(None, training.MAX_LENGTH, args.cache, args.smoke_test)
    config = load_settings(RunConfig, args.recipe, recipe_settings(args))
    print(prepare(config.data, args.cache, quiet=True).sizes())


if __name__ == "__main__":
    run_command(main)
