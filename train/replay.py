"""Make an update again that was not finite: `python -m train.replay runs/x/incidents/update-00000007`.

It is computed from the weights before it, by the same slices with the same seeds, on one device, without
torch.compile; where the run had one device, too, to the bit. Nothing is written.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.command import run_command
from common.errors import InputError
from common.processes import set_threads
from common.settings import load_saved_settings
from data_pipeline.micro_batches import MicroBatch
from train.config import RunConfig
from train.distributed import make_accelerator, new_sum, seed_dropout
from train.loop import prepare_once
from train.optimizer import make_optimizer
from train.run.checkpoints import Checkpoints, restore
from train.run.failed_update import REPORT, check_identity, micro_batches_of, module_norms, sentences
from train.tasks import make_task
from train.trainer import Updater
from transformer.model import build

SHOWN = 5
"""Sentences that are named at most."""


@dataclass(frozen=True)
class Fault:
    """The first output that is not finite."""

    module: str
    micro_batch: MicroBatch
    rows: list[int]
    """Of the training data; those whose output it is."""
    texts: list[dict[str, Any]]
    """The first of them."""


@dataclass(frozen=True)
class Replayed:
    """What the update gives this time."""

    loss: float
    gradient_norm: float
    gradient_norms: dict[str, float]
    fault: Fault | None
    """None where every module's output is finite."""


def main() -> None:
    """Read the command line, replay, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("incident", type=Path, help="folder of the incident, in runs/x/incidents/")
    folder = parser.parse_args().incident
    report = read_report(folder)
    print(describe(report, replay(folder)))


def read_report(folder: Path) -> dict[str, Any]:
    """`incident.json`. Raises FileNotFoundError where the folder is not that of an incident."""
    if not (folder / REPORT).is_file():
        raise FileNotFoundError(f"{folder} is not the folder of an incident: it has no {REPORT}")
    report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return report


def replay(folder: Path) -> Replayed:
    """Compute the update of an incident. Raises ValueError where its data or its checkpoint are not what they were."""
    report, config = read_report(folder), load_saved_settings(RunConfig, folder / "config.yaml")
    set_threads(config.train.threads)
    task = make_task(config, prepare_once(config))
    check_identity(report, task)
    config = replace(task.config, train=replace(task.config.train, log_with="none", compile=False))
    accelerator = make_accelerator(config.train, folder)
    if accelerator.num_processes > 1:
        raise InputError("a replay is made by one process: start it with python, not with accelerate launch")
    dtype = torch.float64 if config.train.precision == "float64" else torch.float32
    model = build(config.model).to(accelerator.device, dtype)
    optimizer = make_optimizer(model, config.optimizer)
    if (checkpoint := Checkpoints(folder).newest()) is None:
        raise InputError(f"{folder} has no whole checkpoint, so the update cannot be made again")
    progress = restore(checkpoint, model, optimizer)
    updater = Updater(model, optimizer, accelerator, config)
    updater.restore_scaler(progress.scaler)
    tokens, total, fault = max(1, report["target_tokens"]), new_sum(accelerator), None
    for micro_batch in micro_batches_of(report):
        seed_dropout(micro_batch.dropout_seed, accelerator.device)
        batch = task.prepared.train.batch(micro_batch).to(accelerator.device)
        with watch(model) as found:
            total += updater.backward(batch, 1 / tokens)
        if fault is None and found:
            (module, where) = found[0]
            rows = [row for row, bad in zip(micro_batch.indices.tolist(), where, strict=True) if bad and row >= 0]
            of_slice = {line["row"]: line for line in sentences(task, micro_batch)}
            fault = Fault(module, micro_batch, rows, [of_slice[row] for row in rows[:SHOWN]])
    norm = updater.gradient_norm()
    return Replayed(float(total) / tokens, float(norm), module_norms(model), fault)


@contextmanager
def watch(model: nn.Module) -> Iterator[list[tuple[str, list[bool]]]]:
    """Collects (module, which rows of the batch) where outputs are not finite, in the order of computing."""
    found: list[tuple[str, list[bool]]] = []

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, given: Any, output: Any) -> None:
            if found or not isinstance(output, Tensor):
                return
            bad = ~output.detach().isfinite().flatten(1).all(dim=1)
            if bad.any():
                found.append((name, bad.tolist()))

        return look

    hooks = [module.register_forward_hook(make_hook(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def describe(report: dict[str, Any], now: Replayed) -> str:
    """What was, what is, and where to look."""
    lines = [
        f"update         {report['step']}",
        f"loss           {now.loss} (then {report['loss']})",
        f"gradient norm  {now.gradient_norm} (then {report['gradient_norm']})",
        "",
        f"{'gradient norm':>24}  {'then':>24}  of the module",
    ]
    lines += [
        f"{norm:>24}  {report['gradient_norms'].get(name, '-'):>24}  {name}"
        for name, norm in now.gradient_norms.items()
    ]
    return "\n".join([*lines, "", *_where(now)])


def _where(now: Replayed) -> list[str]:
    if now.fault is None and math.isfinite(now.loss) and math.isfinite(now.gradient_norm):
        return ["This time everything is finite: it came neither from the weights nor from the data."]
    if now.fault is None:
        return ["The output of every module is finite."]
    fault, micro_batch = now.fault, now.fault.micro_batch
    return [
        f"The first module whose output is not finite is {fault.module}, in micro-batch {micro_batch.number} of "
        f"bucket batch {micro_batch.bucket_batch}, for {len(fault.rows)} of its "
        f"{int((micro_batch.indices >= 0).sum())} examples:",
        *(json.dumps(text, ensure_ascii=False) for text in fault.texts),
    ]


if __name__ == "__main__":
    run_command(main)
