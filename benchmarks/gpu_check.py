"""Check on a GPU that training is correct in every precision and exact if train.deterministic is set.

    python -m benchmarks.gpu_check --out OUT

Trains a tiny model on built-in text. First two equal runs and a resumed one with train.deterministic=true, which must
have the same log and the same weights, bit by bit; then one run in each precision, whose loss must fall and be close to
that of fp32. Writes OUT/gpu_check.json after both. The exit status is 1 if a comparison fails.
"""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.launch import TINY
from benchmarks.run_logs import read_lines
from benchmarks.runner import ROOT, Tables, command_line, new_result, save, table, temporary_folder, write
from common.command import run_command
from common.errors import InputError
from common.settings import last_overrides, load_settings
from data_pipeline.prepared_data import prepare
from train.config import RunConfig

UPDATES = 40
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
SETTINGS = (
    *TINY,
    *("schedule.scale=0.2", "schedule.warmup_steps=20", f"validation.every={UPDATES // 2}"),
    *("validation.bleu_sentences=0", "checkpoints.every=1000", "checkpoints.average_last=1"),
)
EXACT = ("train.precision=bf16", "train.deterministic=true")
LIMIT = 120
"""Seconds after which a run is ended as hanging."""
CLOSE = 0.01
"""Largest allowed relative difference of a loss in half precision from fp32."""

Train = Callable[..., Path]
"""Trains with a run's name and further settings and returns the run folder."""


def main() -> None:
    """Train in every way, compare, and save what each comparison shows."""
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, help="folder of the result (default: benchmarks/results)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/data"), help="data.cache_dir")
    args = parser.parse_args()
    prepare_data(args.cache)
    result = new_result(updates=UPDATES, passed={})
    with temporary_folder() as folder:
        for compare, ways in ((compare_exact, exact_ways), (compare_precisions, precision_ways)):
            runs = train_all(ways(partial(train, folder, args.cache)))
            result["passed"] |= compare(runs, result)
            write("gpu_check", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    save("gpu_check", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    if not all(result["passed"].values()):
        sys.exit(1)


def prepare_data(cache: Path) -> None:
    """Prepare the data of all runs, unless the cache has them."""
    prepare(load_settings(RunConfig, None, [*SETTINGS]).data, cache, quiet=True)


def train(folder: Path, cache: Path, name: str, *settings: str, updates: int = UPDATES) -> Path:
    """Train and return the run folder. Raises InputError if training fails."""
    places = [f"data.cache_dir={cache}", f"run_dir={folder / name}", f"train.max_steps={updates}"]
    command = [sys.executable, "train/train.py", *last_overrides([*SETTINGS, *places, *settings])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        end = " ".join(done.stderr[-600:].split())
        raise InputError(f"training {name} ended with status {done.returncode}: {end}")
    return folder / name


def exact_ways(train: Train) -> dict[str, Callable[[], Path]]:
    """Return the runs that must be bit-identical."""

    def resume() -> Path:
        train("resumed", *EXACT, updates=UPDATES // 2)
        return train("resumed", *EXACT)

    ways = {name: partial(train, name, *EXACT) for name in ("deterministic", "repeated")}
    return {**ways, "resumed": resume}


def precision_ways(train: Train) -> dict[str, Callable[[], Path]]:
    """Return a run in each precision of the device; a CPU has no fp16."""
    names = PRECISIONS if torch.cuda.is_available() else ("fp32", "bf16")
    return {name: partial(train, name, f"train.precision={PRECISIONS[name]}") for name in names}


def train_all(ways: Mapping[str, Callable[[], Path]]) -> dict[str, Path]:
    """Return the run folders; on a GPU the runs train at the same time."""
    with ThreadPoolExecutor(len(ways) if torch.cuda.is_available() else 1) as pool:
        return dict(zip(ways, pool.map(lambda way: way(), ways.values()), strict=True))


def compare_exact(runs: dict[str, Path], result: dict[str, Any]) -> dict[str, bool]:
    """Return which runs are bit-identical to the deterministic one."""
    result["loss"] = {"deterministic": ends(read_losses(runs["deterministic"]))}
    return {
        f"{name}: bit-identical to deterministic": all(
            (runs[name] / file).read_bytes() == (runs["deterministic"] / file).read_bytes()
            for file in ("metrics.jsonl", "model.safetensors")
        )
        for name in ("repeated", "resumed")
    }


def compare_precisions(runs: dict[str, Path], result: dict[str, Any]) -> dict[str, bool]:
    """Return in which precisions the loss falls and is close to that of fp32; add the figures to the result."""
    losses, passed = {name: read_losses(run) for name, run in runs.items()}, {}
    result["largest_difference_from_fp32"] = differences = {}
    for name, curve in losses.items():
        result["loss"][name] = ends(curve)
        differences[name] = max(abs(loss / losses["fp32"][step] - 1) for step, loss in curve.items())
        passed[f"{name}: loss falls"] = all(map(math.isfinite, curve.values())) and curve[UPDATES] < 0.9 * curve[1]
        passed[f"{name}: close to fp32"] = differences[name] < CLOSE
    result["skipped"] = {name: UPDATES - len(curve) for name, curve in losses.items()}
    return passed


def read_losses(run: Path) -> dict[int, float]:
    """Return the loss of every update that was not skipped."""
    lines = read_lines(run / "metrics.jsonl")
    return {line["step"]: line["loss"] for line in lines if "loss" in line and "skipped" not in line}


def ends(curve: dict[int, float]) -> list[float]:
    """Return the first and the last loss."""
    return [curve[min(curve)], curve[max(curve)]]


def make_tables(result: dict[str, Any]) -> Tables:
    """Return what was compared."""
    rows = [[name, "yes" if passed else "**no**"] for name, passed in result["passed"].items()]
    return {"gpu_check": [table(["comparison", "passed"], rows)]}


if __name__ == "__main__":
    run_command(main)
