"""The parts of benchmarks/gpu.sh that are not a benchmark of their own.

    python benchmarks/gpu_run.py prepare --cache DIR          # what `check` trains on, ahead of it
    python benchmarks/gpu_run.py check --cache DIR --out check.json
    python benchmarks/gpu_run.py memory --out memory.json

check: the real command trains a tiny model in every precision; with `train.deterministic` a second run, and one that is
stopped and continued, must give the same metrics and weights to the bit. Ends with status 1 where something is wrong.
memory: the largest batch of base and big that one update in bf16 fits with, how much memory smaller ones take, and how
fast they are: a batch of sentences of 32 tokens a side, no padding, nothing cut.

Without a GPU both run on the processor, which has no fp16; `--rehearse` makes `memory` tiny and keeps it from asking
for memory without end.
"""

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from accelerate import Accelerator

from benchmarks.machine import describe_machine
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import Update
from data_pipeline.prepared_data import prepare
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from train.config import RunConfig
from train.distributed import make_accelerator
from train.optimizer import make_optimizer
from train.trainer import Updater
from transformer.model import build, count_parameters

ROOT = Path(__file__).resolve().parent.parent
UPDATES = 40
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
TINY = (
    *("data.train=grammar", "data.grammar_pairs=2000", "data.vocab_size=400", "data.max_length=40"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "schedule.scale=0.2"),
    *("batches.tokens_per_update=1600", "batches.buckets=8", "schedule.warmup_steps=20", "train.log_every=1"),
    *("train.log_with=none", f"validation.every={UPDATES // 2}", "validation.bleu_sentences=0", "train.threads=1"),
    *("checkpoints.every=1000", "checkpoints.average_last=1"),
)
"""What `check` trains."""
LIMIT = 120
"""Seconds after which a training of `check` counts as hanging."""
CLOSE = 0.01
"""Largest difference of a loss in half precision from that in fp32, of its value, that passes."""
SMALL = ("model.d_model=64", "model.n_layers=1", "model.n_heads=2", "model.d_ff=128", "model.vocab_size=1000")
LENGTH = 32
"""Tokens of a sentence in `memory`, on each side."""


def main() -> None:
    """Read the command line and run the part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("prepare", "check", "memory"))
    parser.add_argument("--cache", default=".cache/data", help="data.cache_dir")
    parser.add_argument("--out", type=Path, help="file for the result")
    parser.add_argument("--rehearse", action="store_true", help="tiny")
    args = parser.parse_args()
    if args.part == "prepare":
        print(prepare(load_settings(RunConfig, None, [*TINY]).data, Path(args.cache), quiet=True).sizes())
        return
    result = {"machine": describe_machine(), **(check(args.cache) if args.part == "check" else memory(args.rehearse))}
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text)
    if not all(result.get("passed", {}).values()):
        sys.exit(1)


def check(cache: str) -> dict[str, Any]:
    """Train in every way, and compare."""
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as temporary:
        folder = Path(temporary)

        def train(name: str, *settings: str) -> Path:
            return run_training(folder / name, [*TINY, f"data.cache_dir={cache}", *settings])

        def resumed() -> Path:
            train("resumed", "train.precision=bf16", "train.deterministic=true", f"train.max_steps={UPDATES // 2}")
            return train("resumed", "train.precision=bf16", "train.deterministic=true", f"train.max_steps={UPDATES}")

        def way(name: str, *settings: str) -> Callable[[], Path]:
            return lambda: train(name, *settings, f"train.max_steps={UPDATES}")

        ways = {name: way(name, f"train.precision={PRECISIONS[name]}") for name in PRECISIONS}
        if not on_gpu:
            ways.pop("fp16")
        for name in ("deterministic", "repeated") if on_gpu else ():
            ways[name] = way(name, "train.precision=bf16", "train.deterministic=true")
        ways["resumed"] = resumed
        prepare(load_settings(RunConfig, None, [*TINY]).data, Path(cache), quiet=True)  # once, for all of them
        with ThreadPoolExecutor(4 if on_gpu else 1) as pool:
            runs = dict(zip(ways, pool.map(lambda make: make(), ways.values()), strict=True))
        return judge(runs if on_gpu else runs | {"deterministic": runs["bf16"]})  # a processor always is


def run_training(run: Path, settings: list[str]) -> Path:
    """The real command. Raises ValueError with the end of what it said where it fails."""
    command = [sys.executable, "train/train.py", *settings, f"run_dir={run}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env=os.environ)
    if done.returncode:
        said = " ".join(done.stderr[-600:].split())
        raise InputError(f"training {run.name} ended with status {done.returncode}: {said}")
    return run


def judge(runs: dict[str, Path]) -> dict[str, Any]:
    """What each training reached, and whether that is as it must be."""
    losses = {name: read_losses(run) for name, run in runs.items()}
    passed, apart = {}, {}
    for name in sorted(runs.keys() & PRECISIONS):
        curve = losses[name]
        passed[f"{name} learns"] = all(map(math.isfinite, curve.values())) and curve[UPDATES] < 0.9 * curve[1]
        apart[name] = max(abs(loss / losses["fp32"][step] - 1) for step, loss in curve.items())
        passed[f"{name} is close to fp32"] = apart[name] < CLOSE
    for name in sorted(runs.keys() & {"repeated", "resumed"}):
        passed[f"{name} equals deterministic"] = all(
            (runs[name] / file).read_bytes() == (runs["deterministic"] / file).read_bytes()
            for file in ("metrics.jsonl", "model.safetensors")
        )
    return {
        "passed": passed,
        "updates": UPDATES,
        "largest_difference_from_fp32": apart,
        "loss": {name: [curve[min(curve)], curve[max(curve)]] for name, curve in losses.items()},
        "left_out": {name: UPDATES - len(curve) for name, curve in losses.items()},
        "bf16_differs_from_deterministic": max(
            abs(loss - losses["deterministic"][step]) for step, loss in losses["bf16"].items()
        ),
    }


def read_losses(run: Path) -> dict[int, float]:
    """The training loss of every update that was learned."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line and "skipped" not in line}


def memory(rehearse: bool) -> dict[str, Any]:
    """Base and big."""
    device = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else None
    result: dict[str, Any] = {"precision": "bf16", "tokens_of_a_sentence": LENGTH, "device_gib": device}
    for size in ("base", "big"):
        settings = [*(SMALL if rehearse else ()), "train.precision=bf16", "train.log_with=none"]
        config = load_settings(RunConfig, ROOT / f"configs/{size}.yaml", settings)
        result[size] = measure_memory(config, 1024 if rehearse else 2**21)
        print(size, json.dumps(result[size]), file=sys.stderr, flush=True)  # something is left where time runs out
    return result


def measure_memory(config: RunConfig, most: int) -> dict[str, Any]:
    """Double the batch until it no longer fits or has `most` target tokens, then close in on the limit."""
    accelerator = make_accelerator(config.train, Path())
    torch.manual_seed(1)
    model = build(config.model).to(accelerator.device)
    updater = Updater(model, make_optimizer(model, config.optimizer), accelerator, config)
    tried, fits = {}, 0
    too_many: int | None = None
    tokens: int | None = min(most, 1024)
    while tokens is not None:
        cost = try_update(updater, accelerator, config, tokens)
        if cost is None:
            too_many = tokens
        else:
            tried[tokens], fits = cost, tokens
        tokens = following(fits, too_many, most)
    parameters = count_parameters(model)
    accelerator.free_memory()
    return {"parameters": parameters, "largest_tokens": fits, "found_the_limit": too_many is not None, "tried": tried}


def following(fits: int, too_many: int | None, most: int) -> int | None:
    """The next number of tokens to try; None where the limit is known to a sixteenth, or `most` fits."""
    if too_many is None:
        return None if fits >= most else min(most, 2 * fits)
    middle = (fits + too_many) // 2 // LENGTH * LENGTH
    return None if middle - fits < too_many / 32 or not middle else middle


def try_update(
    updater: Updater, accelerator: Accelerator, config: RunConfig, tokens: int
) -> dict[str, float | None] | None:
    """Peak memory and speed of an update of one batch; None where it does not fit."""
    rows, on_gpu = max(1, tokens // LENGTH), accelerator.device.type == "cuda"
    src_BM, tgt_BL, labels_BL = torch.randint(EOS_ID + 1, config.model.vocab_size, (3, rows, LENGTH))
    batch = Batch((src_BM, torch.ones_like(src_BM, dtype=torch.bool), tgt_BL), labels_BL, dropout_seed=1)
    update = Update(step=0, bucket_batches=(), src_tokens=rows * LENGTH, predicted_tokens=rows * LENGTH)
    seconds = math.inf
    try:
        for i in range(3):  # the first one warms up
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            updater.learn(update, [batch], lambda: ())
            if on_gpu:
                torch.cuda.synchronize()
            seconds = min(seconds, time.perf_counter() - started) if i else seconds
    except torch.OutOfMemoryError:
        updater.forget()
        gc.collect()
        torch.cuda.empty_cache()
        return None
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None
    return {"peak_gib": peak, "tgt_tokens_per_second": round(rows * LENGTH / seconds)}


if __name__ == "__main__":
    run_command(main)
