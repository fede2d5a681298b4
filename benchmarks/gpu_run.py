"""Run everything that needs a GPU in less than nine minutes; write logs, results and a summary into one folder.

    python -m benchmarks.gpu_run OUT                         # all parts
    python -m benchmarks.gpu_run OUT --parts check decoding=200 --budget 300
    python -m benchmarks.gpu_run OUT --smoke-test            # every part tiny, on a CPU
    python -m benchmarks.gpu_run OUT --parts prepare         # before, where `datasets` is installed: prepare the data

Parts, with the seconds that each may take:

    check     90   updates in fp32, bf16 and fp16; two equal runs and a resumed one must be bit-identical
    memory    50   the largest batch of base and big that fits, its memory and speed (sentences of 32 tokens, bf16)
    decoding  140  benchmarks/decoding.py, base
    training  140  benchmarks/training.py, base and big
    multi30k       train --recipe on Multi30k for the time that is left, then report when it reached which BLEU

If a part fails or runs out of time, the next one starts anyway. The exit status is 1 if a part failed.
"""

import argparse
import gc
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator

from benchmarks import decoding, time_to_bleu, training
from benchmarks.launch import TINY
from benchmarks.run_logs import read_lines
from benchmarks.runner import RESULTS, ROOT, command_line, new_result, save, say, seconds_of
from common.command import run_command
from common.errors import InputError
from common.settings import last_overrides, load_settings
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import Update
from data_pipeline.prepared_data import prepare
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from train.config import RunConfig
from train.distributed import make_accelerator
from train.optimizer import make_optimizer
from train.trainer import Trainer
from transformer.model import build, count_parameters

SECONDS = {"prepare": math.inf, "check": 90, "memory": 50, "decoding": 140, "training": 140, "multi30k": math.inf}
UPDATES = 40
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
CHECKED = (
    *TINY,
    *("schedule.scale=0.2", "schedule.warmup_steps=20", f"validation.every={UPDATES // 2}"),
    *("validation.bleu_sentences=0", "checkpoints.every=1000", "checkpoints.average_last=1"),
)
"""Settings of the runs of `check`."""
SMALL = ("model.d_model=64", "model.n_layers=1", "model.n_heads=2", "model.d_ff=128", "model.vocab_size=1000")
LIMIT = 120
"""Seconds after which a run of `check` is ended as hanging."""
CLOSE = 0.01
"""Largest allowed relative difference of a loss in half precision from fp32."""
LENGTH = 32
"""Source and target tokens of a sentence in `memory`."""


def main() -> None:
    """Run the parts, or one part in this process."""
    args = parse_args()
    if args.only_part:
        return {"prepare": prepare_data, "check": check, "memory": memory}[args.only_part](args)
    args.out.mkdir(parents=True, exist_ok=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    started, failed = time.monotonic(), False
    lines = [f"{gpu}, Python {sys.version.split()[0]}, torch {torch.__version__}"]
    parts = [parse_part(text) for text in args.parts]
    with tempfile.TemporaryDirectory(prefix="gpu-run-") as work, mock.patch.dict(os.environ):
        install(args.wheels, Path(work) / "packages")
        for part, limit in parts:
            before = time.monotonic()
            limit = min(limit, args.budget - (before - started))
            status = run_part(part, limit, args, Path(work)) if limit >= 10 else "no time"
            failed |= status != "0"
            lines.append(f"{part:10}{time.monotonic() - before:8.0f} s  {status}")
            say(lines[-1])
            (args.out / "summary.txt").write_text("\n".join(lines) + "\n")
    sys.exit(1 if failed else 0)


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = command_line(__doc__)
    parser.add_argument("out", type=Path, help="folder for logs, results and summary.txt")
    parser.add_argument("--parts", nargs="+", metavar="PART[=SECONDS]", default=list(SECONDS)[1:])
    parser.add_argument("--budget", type=float, default=530, help="seconds for all parts (default: 530)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/data"), help="data.cache_dir, filled by `prepare`")
    parser.add_argument("--data", type=Path, default=Path("data/multi30k"), help="train and val of Multi30k, also .gz")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs/multi30k.yaml", help="config of `multi30k`")
    parser.add_argument("--bleu", nargs="+", default=["20", "25", "30", "35"], help="BLEU whose time is reported")
    parser.add_argument(
        "--decoding", default="--sizes base --batches 32 128 512 --rounds 3", help="options of the part"
    )
    parser.add_argument(
        "--training", default="--sizes base big --precisions bf16 --rounds 3", help="options of the part"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first, for this run only")
    parser.add_argument("--only-part", choices=("prepare", "check", "memory"), help=argparse.SUPPRESS)
    return parser.parse_args()


def parse_part(text: str) -> tuple[str, float]:
    """Parse PART or PART=SECONDS. Raises InputError for another part."""
    part, _, seconds = text.partition("=")
    if part not in SECONDS:
        raise InputError(f"no part {part!r}; the parts are {', '.join(SECONDS)}")
    return part, float(seconds or SECONDS[part])


def install(wheels: Path | None, packages: Path) -> None:
    """Install the wheels into a folder that the parts import from."""
    if wheels is not None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(packages)]
        subprocess.run([*pip, *map(str, wheels.glob("*.whl"))], check=True)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))


def run_part(part: str, limit: float, args: argparse.Namespace, work: Path) -> str:
    """Run the commands of a part with their output in a log; return the exit status or `time out`."""
    until, began, status = time.monotonic() + limit, time.time(), "0"
    with (args.out / f"{part}.log").open("w") as log:
        for command in commands(part, limit, args, work):
            timeout = max(30.0, until - time.monotonic())
            try:
                done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=timeout)
                status = str(done.returncode) if done.returncode else status
            except subprocess.TimeoutExpired:
                status = "time out"
    for path in (path for path in RESULTS.glob("*.json") if path.stat().st_mtime >= began):
        shutil.copy(path, args.out)
    for path in (path for path in (work / part).glob("*") if path.suffix in (".yaml", ".jsonl")):
        shutil.copy(path, args.out / f"{part}_{path.name}")
    return status


def commands(part: str, limit: float, args: argparse.Namespace, work: Path) -> list[list[str]]:
    """Return the commands of a part."""
    python = [sys.executable, "-m"]
    device = ["--smoke-test", "--threads", "1"] if args.smoke_test else ["--device", "cuda"]
    cache = work / "cache" if args.smoke_test else args.cache
    match part:
        case "decoding":
            options = "--batches 2 --beams 2" if args.smoke_test else args.decoding
            return [[*python, decoding.__name__, *device, *options.split()]]
        case "training":
            return [[*python, training.__name__, *device, *("" if args.smoke_test else args.training).split()]]
        case "multi30k":
            settings = [*recipe_settings(args), f"data.cache_dir={cache}", f"run_dir={work / part}"]
            ends = [f"train.max_hours={max(5, limit - 40) / 3600}", "train.log_with=none"]
            report = [f"multi30k={work / part}", "--bleu", *args.bleu, "--out", str(args.out)]
            return [
                [sys.executable, "train/train.py", "--config", str(args.recipe), *last_overrides([*settings, *ends])],
                [*python, time_to_bleu.__name__, *report],
            ]
        case _:
            assert __spec__ is not None
            options = [str(args.out), "--only-part", part, "--cache", str(cache), "--data", str(args.data)]
            smoke = ["--smoke-test"] if args.smoke_test else []
            return [[*python, __spec__.name, *options, "--recipe", str(args.recipe), *smoke]]


def recipe_settings(args: argparse.Namespace) -> list[str]:
    """Return the data settings of `multi30k`; in a smoke test a tiny run."""
    if args.smoke_test:
        steps = ("train.max_steps=40", "validation.every=20", "validation.bleu_sentences=4")
        return [*TINY, "data.valid=null", "data.test=null", *steps]

    def pair(name: str) -> str:
        file = args.data.resolve() / name
        end = "" if file.with_suffix(".en").exists() else ".gz"
        return f"[{file}.en{end},{file}.de{end}]"

    return [f"data.train={pair('train')}", f"data.valid={pair('val')}", "data.test=null"]


def prepare_data(args: argparse.Namespace) -> None:
    """Prepare the data of `check` and `multi30k`, so that they need neither network nor `datasets`."""
    for config in (
        load_settings(RunConfig, None, [*CHECKED]),
        load_settings(RunConfig, args.recipe, recipe_settings(args)),
    ):
        print(prepare(config.data, args.cache, quiet=True).sizes())


def check(args: argparse.Namespace) -> None:
    """Train in every way and compare; the exit status is 1 if a comparison fails."""
    on_gpu = torch.cuda.is_available()
    exact = ("train.precision=bf16", "train.deterministic=true")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:

        def train(name: str, *settings: str, updates: int = UPDATES) -> Path:
            places = [f"data.cache_dir={args.cache}", f"run_dir={Path(folder) / name}", f"train.max_steps={updates}"]
            command = [sys.executable, "train/train.py", *last_overrides([*CHECKED, *places, *settings])]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
            if done.returncode:
                end = " ".join(done.stderr[-600:].split())
                raise InputError(f"training {name} ended with status {done.returncode}: {end}")
            return Path(folder) / name

        def resume() -> Path:
            train("resumed", *exact, updates=UPDATES // 2)
            return train("resumed", *exact)

        ways: dict[str, Callable[[], Path]] = {
            name: partial(train, name, f"train.precision={PRECISIONS[name]}")
            for name in (PRECISIONS if on_gpu else ("fp32", "bf16"))  # a CPU has no fp16
        }
        if on_gpu:
            ways |= {name: partial(train, name, *exact) for name in ("deterministic", "repeated")}
        ways["resumed"] = resume
        prepare(load_settings(RunConfig, None, [*CHECKED]).data, args.cache, quiet=True)  # once for all runs
        with ThreadPoolExecutor(4 if on_gpu else 1) as pool:
            runs = dict(zip(ways, pool.map(lambda way: way(), ways.values()), strict=True))
        # a CPU is always deterministic
        result = new_result(**judge(runs if on_gpu else runs | {"deterministic": runs["bf16"]}))
    save("gpu_check", result, {}, folder=args.out)
    if not all(result["passed"].values()):
        sys.exit(1)


def judge(runs: dict[str, Path]) -> dict[str, Any]:
    """Return what each run reached, and whether it is as it must be."""
    losses = {
        name: {line["step"]: line["loss"] for line in read_lines(run / "metrics.jsonl")
               if "loss" in line and "skipped" not in line}
        for name, run in runs.items()
    }  # fmt: skip
    passed, differences = {}, {}
    for name in sorted(runs.keys() & PRECISIONS):
        curve = losses[name]
        passed[f"{name}: loss falls"] = all(map(math.isfinite, curve.values())) and curve[UPDATES] < 0.9 * curve[1]
        differences[name] = max(abs(loss / losses["fp32"][step] - 1) for step, loss in curve.items())
        passed[f"{name}: close to fp32"] = differences[name] < CLOSE
    for name in sorted(runs.keys() & {"repeated", "resumed"}):
        passed[f"{name}: bit-identical to deterministic"] = all(
            (runs[name] / file).read_bytes() == (runs["deterministic"] / file).read_bytes()
            for file in ("metrics.jsonl", "model.safetensors")
        )
    exact = losses["deterministic"]
    return {
        "passed": passed,
        "updates": UPDATES,
        "largest_difference_from_fp32": differences,
        "loss": {name: [curve[min(curve)], curve[max(curve)]] for name, curve in losses.items()},
        "skipped": {name: UPDATES - len(curve) for name, curve in losses.items()},
        "bf16_differs_from_deterministic": max(abs(loss - exact[step]) for step, loss in losses["bf16"].items()),
    }


def memory(args: argparse.Namespace) -> None:
    """Measure base and big; save the result after each, since the time may run out."""
    device = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else None
    result = new_result(precision="bf16", tokens_of_a_sentence=LENGTH, device_gib=device)
    for size in ("base", "big"):
        settings = [*(SMALL if args.smoke_test else ()), "train.precision=bf16", "train.log_with=none"]
        config = load_settings(RunConfig, ROOT / f"configs/{size}.yaml", settings)
        result[size] = measure_memory(config, 1024 if args.smoke_test else 2**21)
        save("gpu_memory", result, {}, folder=args.out)


def measure_memory(config: RunConfig, most: int) -> dict[str, Any]:
    """Double the batch until it does not fit or has `most` target tokens, then search for the limit."""
    accelerator = make_accelerator(config.train, Path())
    torch.manual_seed(1)
    model = build(config.model).to(accelerator.device)
    trainer = Trainer(model, make_optimizer(model, config.optimizer), accelerator, config)
    tried, fits = {}, 0
    too_many: int | None = None
    tokens: int | None = min(most, 1024)
    while tokens is not None:
        cost = try_update(trainer, accelerator, config, tokens)
        if cost is None:
            too_many = tokens
        else:
            tried[tokens], fits = cost, tokens
        tokens = next_size(fits, too_many, most)
    accelerator.free_memory()
    parameters = count_parameters(model)
    return {"parameters": parameters, "largest_tokens": fits, "found_the_limit": too_many is not None, "tried": tried}


def next_size(fits: int, too_many: int | None, most: int) -> int | None:
    """Return the next number of tokens to try; None if the limit is known to a sixteenth, or `most` fits."""
    if too_many is None:
        return None if fits >= most else min(most, 2 * fits)
    middle = (fits + too_many) // 2 // LENGTH * LENGTH
    return None if middle - fits < too_many / 32 or not middle else middle


def try_update(
    trainer: Trainer, accelerator: Accelerator, config: RunConfig, tokens: int
) -> dict[str, float | None] | None:
    """Return peak memory and speed of an update of one batch; None if it does not fit."""
    rows, device = max(1, tokens // LENGTH), accelerator.device.type
    src_BM, tgt_BL, labels_BL = torch.randint(EOS_ID + 1, config.model.vocab_size, (3, rows, LENGTH))
    batch = Batch((src_BM, torch.ones_like(src_BM, dtype=torch.bool), tgt_BL), labels_BL, dropout_seed=1)
    update = Update(step=0, bucket_batches=(), src_tokens=rows * LENGTH, predicted_tokens=rows * LENGTH)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        seconds = [seconds_of(lambda: trainer.step(update, [batch], lambda: ()), device) for _ in range(3)]
    except torch.OutOfMemoryError:
        trainer.clear_gradient()
        gc.collect()
        torch.cuda.empty_cache()
        return None
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None
    return {"peak_gib": peak, "tgt_tokens_per_second": round(rows * LENGTH / min(seconds[1:]))}  # the first warms up


if __name__ == "__main__":
    run_command(main)
