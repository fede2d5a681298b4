"""What the checks of an update and the checkpoints cost.

    python benchmarks/safety_cost.py

(a) The updates of the demo's recipe, blocks of them in turn with everything and bare: without the norm of the gradient,
the check for finite numbers and the one read by the host that goes with them. (b) A checkpoint of the demo's,
Multi30k's and base's shapes: seconds by part, bytes, and its share of training at the config's `checkpoint_every`.
Writes benchmarks/results/safety_cost.json.
"""

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch.nn.functional import cross_entropy

from benchmarks.learners import Work
from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.processes import set_threads
from common.settings import load_settings
from data_pipeline.prepared_data import prepare
from train.config import RunConfig
from train.distributed import StopRequest, make_accelerator, seed_dropout
from train.loop import Run
from train.optimizer import make_optimizer
from train.run import checkpoints as checkpoint
from train.run.checkpoints import Checkpoints, RunState
from train.schedule import learning_rate
from train.tasks import make_task
from transformer.model import build

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"demo": "demo.yaml", "multi30k": "multi30k.yaml", "base": "base.yaml"}
PARTS = {
    "train.run.checkpoints.weights": "copy",
    "train.run.checkpoints._optimizer_state": "copy",
    "train.run.checkpoints.sha256": "hash",
}
"""Functions of a save whose time is taken; `write` is what save_tensors takes without its flush."""


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few repetitions; writes nothing")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--threads", type=int, help="otherwise as many as there are cores")
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written; otherwise the temporary folder")
    args = parser.parse_args()
    rounds, saves, block = (3, 2, 4) if args.quick else (args.rounds, args.saves, 20)
    set_threads(args.threads)
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "machine": describe_machine()}
    with tempfile.TemporaryDirectory(prefix="safety-", dir=args.folder) as folder:
        result["update"] = compare_updates(Path(folder), rounds, block)
        for name in ("demo", "multi30k") if args.quick else SHAPES:
            result[f"save_{name}"] = measure_saves(name, Path(folder) / name, saves)
    if args.quick:
        print(result)
    else:
        write_result("safety_cost", result)


def compare_updates(folder: Path, rounds: int, block: int) -> dict[str, Any]:
    """Blocks of updates with everything and bare, in turn, in the same run."""
    run = make_run(folder)
    with mock.patch("signal.signal"):  # signals end the measurement as they always would
        stop = StopRequest()
    steps = iter(range(1_000_000))

    def timed(learn: Callable[[Work], object]) -> float:
        work = [run._batches(next(steps)) for _ in range(block)]  # what the loop makes in a thread beside
        wait(run)
        started = time.perf_counter()
        for update in work:
            learn(update)
        wait(run)
        return (time.perf_counter() - started) / block

    ways: dict[str, Callable[[Work], object]] = {
        "everything": lambda work: run.updater.learn(*work, stop.asked),
        "bare": lambda work: learn_bare(run, work),
    }
    for learn in ways.values():
        timed(learn)  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds):
        for name in sorted(ways, reverse=i % 2 == 1):
            seconds[name].append(timed(ways[name]))
    ratios = [a / b for a, b in zip(seconds["everything"], seconds["bare"], strict=True)]
    medians = {f"seconds_{name}": round(statistics.median(own), 5) for name, own in seconds.items()}
    shown = {f"ratio_{name}": round(pick(ratios), 4) for name, pick in (("median", statistics.median), ("low", min))}
    return {"recipe": "demo", "block": block, "rounds": rounds, **medians, **shown, "ratio_high": round(max(ratios), 4)}


def make_run(folder: Path) -> Run:
    """The demo's run, ready for its first update."""
    places = [f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / 'run'}"]
    config = load_settings(RunConfig, ROOT / "configs/demo.yaml", [*places, "train.log_with=none"])
    with contextlib.redirect_stdout(io.StringIO()):
        task = make_task(config, prepare(config.data, folder / "cache", torch.get_num_threads(), quiet=True))
        run_dir = folder / "run"
        run_dir.mkdir()
        run = Run(task, run_dir, make_accelerator(config.train, run_dir))
        run.rehearse()
    return run


def learn_bare(run: Run, work: Work) -> None:
    """The same update, with nothing that is not learning."""
    update, batches = work
    for batch in batches:
        seed_dropout(batch.dropout_seed, run.accelerator.device)
        run.updater.backward(batch.to(run.accelerator.device), 1 / update.predicted_tokens)
    for group in run.updater.optimizer.param_groups:
        group["lr"] = learning_rate(update.step + 1, run.config.schedule, run.config.model.d_model)
    run.updater.optimizer.step()
    run.updater.forget()


def wait(run: Run) -> None:
    """Until the device has done what was asked of it."""
    if run.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def measure_saves(name: str, folder: Path, saves: int) -> dict[str, Any]:
    """Regular checkpoints of a model of this shape with Adam's moments, one after the other, the last two kept."""
    config = load_settings(RunConfig, ROOT / "configs" / SHAPES[name], [f"model.vocab_size={vocabulary(name)}"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(config.model).to(device)
    optimizer = make_optimizer(model, config.optimizer)
    update = estimate_update(config, model, optimizer)
    checkpoints, totals = Checkpoints(folder), []
    parts: dict[str, list[float]] = defaultdict(list)
    for step in range(1, saves + 2):
        with timed_parts() as spent:
            started = time.perf_counter()
            checkpoints.save("regular", model, optimizer, RunState(step=step), metrics="", keep=2)
            total = time.perf_counter() - started
        if step == 1:
            continue  # warms up
        totals.append(total)
        for part, seconds in {**spent, "rest": total - sum(spent.values())}.items():
            parts[part].append(seconds)
    size = sum(file.stat().st_size for file in folder.glob(f"regular-{saves + 1:08d}/*"))
    every = config.checkpoints.every
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": size,
        "seconds": [round(pick(totals), 4) for pick in (statistics.median, min, max)],
        "seconds_by_part": {part: round(statistics.median(own), 4) for part, own in parts.items()},
        "checkpoint_every": every,
        "seconds_per_update_estimated": round(update, 3),
        "share_of_training": statistics.median(totals) / (every * update),
    }


def vocabulary(name: str) -> int:
    """Pieces that the config asks for."""
    return load_settings(RunConfig, ROOT / "configs" / SHAPES[name], []).data.vocab_size


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Seconds by part of all saves within."""
    spent: dict[str, float] = defaultdict(float)

    def clocked(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started, flushed = time.perf_counter(), spent["fsync"]
            made = function(*arguments)
            spent[part] += time.perf_counter() - started - (spent["fsync"] - flushed if part == "write" else 0)
            return made

        return call

    with ExitStack() as patches:
        for name, part in (*PARTS.items(), ("train.run.checkpoints.save_tensors", "write")):
            original = vars(checkpoint)[name.rpartition(".")[2]]
            patches.enter_context(mock.patch(name, clocked(original, part)))
        patches.enter_context(mock.patch("os.fsync", clocked(os.fsync, "fsync")))
        yield spent


def estimate_update(config: RunConfig, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of an update, by the tokens of one small batch of full rows, and Adam's step beside; dropout included."""
    device = next(model.parameters()).device
    src_BM, tgt_BL = torch.randint(4, config.model.vocab_size, (2, 16, 32), device=device)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            logits_BLV = model(src_BM, torch.ones_like(src_BM, dtype=torch.bool), tgt_BL)
        cross_entropy(logits_BLV.float().flatten(0, 1), tgt_BL.flatten()).backward()
        float(logits_BLV.detach()[0, 0, 0])  # waits for the device
        learned = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        stepped = time.perf_counter()
        seconds.append((learned - started) * config.batches.tokens_per_update / tgt_BL.numel() + stepped - learned)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    run_command(main)
