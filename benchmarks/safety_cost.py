"""Measure what the checks of an update and the checkpoints cost.

    python -m benchmarks.safety_cost

(a) Updates of the demo's recipe, blocks of them in turn with all checks and without: without the gradient norm, the
check for non-finite numbers, and the synchronisation that they need. (b) A checkpoint of the demo's, Multi30k's and
base's size: seconds by part, bytes, and share of the training time at the config's `checkpoints.every`. Writes
benchmarks/results/safety_cost.json.
"""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.programs.training import Work
from benchmarks.runner import (
    ROOT,
    Tables,
    command_line,
    new_result,
    ratios,
    save,
    seconds_of,
    show_spread,
    spread,
    synchronise,
    table,
    take_turns,
    temporary_folder,
    timed_calls,
)
from common.command import run_command
from common.processes import set_threads
from common.settings import load_settings
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.distributed import make_accelerator, seed_dropout
from train.loop import Run, start_run
from train.optimizer import make_optimizer
from train.run import checkpoints
from train.run.checkpoints import Checkpoints, RunState
from train.schedule import learning_rate
from train.setup import make_setup
from transformer.model import build

CONFIGS = ("demo", "multi30k", "base")
PARTS = {
    (checkpoints, "get_weights"): "copy",
    (checkpoints, "_optimizer_state"): "copy",
    (checkpoints, "sha256"): "hash",
    (checkpoints, "save_tensors"): "write",
    (os, "fsync"): "fsync",
}
"""Functions of a save that are timed. `write` excludes the time of fsync."""


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--saves", type=int, default=7)
    args = parser.parse_args()
    rounds, saves, block = (1, 2, 1) if args.smoke_test else (15, args.saves, 20)
    set_threads(None)
    result = new_result(threads=torch.get_num_threads())
    with temporary_folder() as folder:
        result["update"] = compare_updates(folder, rounds, block)
        for name in CONFIGS[:1] if args.smoke_test else CONFIGS:
            result[f"save_{name}"] = measure_saves(name, folder / name, saves)
    save("safety_cost", result, make_tables(result), smoke_test=args.smoke_test)


def compare_updates(folder: Path, rounds: int, block: int) -> dict[str, Any]:
    """Time blocks of updates with and without checks, in turn, in one run."""
    run = make_run(folder)
    device = run.accelerator.device.type
    steps = iter(range(1_000_000))

    def seconds(learn: Callable[[Work], object]) -> float:
        # The training loop makes the batches in a parallel thread.
        work = [run._make_batches(next(steps)) for _ in range(block)]
        return seconds_of(lambda: [learn(one) for one in work], device) / block

    updates: dict[str, Callable[[Work], object]] = {
        "checked": lambda work: run.trainer.step(*work, lambda: (False, False)),
        "unchecked": partial(update_without_checks, run),
    }
    measured = take_turns({name: partial(seconds, learn) for name, learn in updates.items()}, rounds + 1)
    timed = {name: own[1:] for name, own in measured.items()}  # the first round is a warm-up
    return {
        "recipe": "demo",
        "block": block,
        "rounds": rounds,
        "seconds": {name: round(statistics.median(own), 5) for name, own in timed.items()},
        "ratio": spread(ratios(timed["checked"], timed["unchecked"]), 4),
    }


def make_run(folder: Path) -> Run:
    """Return the demo's run before its first update."""
    places = [f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / 'run'}"]
    config = load_settings(RunConfig, ROOT / "configs/demo.yaml", [*places, "train.log_with=none"])
    with redirect_stdout(StringIO()):
        setup = make_setup(config, prepare(config.data, folder / "cache", torch.get_num_threads(), quiet=True))
        run_dir = folder / "run"
        run_dir.mkdir()
        run = start_run(setup, run_dir, make_accelerator(config.train, run_dir))
        run.check_memory()
    return run


def update_without_checks(run: Run, work: Work) -> None:
    """Make the same update, and nothing else."""
    update, batches = work
    for batch in batches:
        seed_dropout(batch.dropout_seed, run.accelerator.device)
        run.trainer.backward(batch.to(run.accelerator.device), 1 / update.predicted_tokens)
    for group in run.trainer.optimizer.param_groups:
        group["lr"] = learning_rate(update.step + 1, run.config.schedule, run.config.model.d_model)
    run.trainer.optimizer.step()
    run.trainer.clear_gradient()


def measure_saves(name: str, folder: Path, saves: int) -> dict[str, Any]:
    """Save regular checkpoints of a model of this size with Adam's moments, and keep the last two."""
    file = ROOT / "configs" / f"{name}.yaml"
    vocab_size = load_settings(RunConfig, file, []).data.vocab_size
    config = load_settings(RunConfig, file, [f"model.vocab_size={vocab_size}"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(config.model).to(device)
    optimizer = make_optimizer(model, config.optimizer)
    update = estimate_update(config, model, optimizer)
    totals, parts = [], defaultdict(list)
    for step in range(1, saves + 2):
        with timed_calls(PARTS) as spent:
            started = time.perf_counter()
            Checkpoints(folder).save("regular", model, optimizer, RunState(step=step), metrics="", keep=2)
            total = time.perf_counter() - started
        if step == 1:
            continue  # warm-up
        totals.append(total)
        for part, seconds in {**spent, "rest": total - sum(spent.values())}.items():
            parts[part].append(seconds)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": sum(file.stat().st_size for file in folder.glob(f"regular-{saves + 1:08d}/*")),
        "seconds": spread(totals, 4),
        "seconds_by_part": {part: round(statistics.median(own), 4) for part, own in parts.items()},
        "every": config.checkpoints.every,
        "seconds_per_update_estimated": round(update, 3),
        "share_of_training": statistics.median(totals) / (config.checkpoints.every * update),
    }


def estimate_update(config: RunConfig, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Return the seconds of an update with dropout, from the tokens of one small batch without padding, and Adam."""
    device = next(model.parameters()).device
    src_BM, tgt_BL = torch.randint(4, config.model.vocab_size, (2, 16, 32), device=device)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            logits_BLV = model(src_BM, torch.ones_like(src_BM, dtype=torch.bool), tgt_BL)
        cross_entropy(logits_BLV.float().flatten(0, 1), tgt_BL.flatten()).backward()
        synchronise(device.type)
        gradients = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        synchronise(device.type)
        batches = config.batches.tokens_per_update / tgt_BL.numel()
        seconds.append((gradients - started) * batches + time.perf_counter() - gradients)
    return statistics.median(seconds[1:])


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the cost of the checks, and of the checkpoints."""
    update = result["update"]
    text = (
        f"An update of the demo with its checks takes {show_spread(update['ratio'], '.3f')} times as long as without "
        f"them: median and range of {update['rounds']} pairs of {update['block']} updates, {result['threads']} threads."
    )
    rows = []
    for name in (name for name in CONFIGS if f"save_{name}" in result):
        own = result[f"save_{name}"]
        parts = [f"{own['seconds_by_part'][part]:.2f}" for part in ("copy", "write", "fsync", "hash")]
        every, share = f"{own['every']:,} updates", f"{own['share_of_training']:.2%}"
        rows.append([name, f"{own['bytes'] / 1e6:,.0f}", show_spread(own["seconds"]), *parts, every, share])
    headings = ["checkpoint of", "size (MB)", "seconds: median (range)", "copy (s)", "write (s)", "fsync (s)",
                "hash (s)", "interval", "share of the training time"]  # fmt: skip
    return {"safety_cost": [table([], [], text), table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
