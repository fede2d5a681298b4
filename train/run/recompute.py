"""Compute a failed update again, and find the module and the examples that it came from."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import InputError, first_line
from common.processes import set_threads
from common.settings import load_saved_settings
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import PADDING_ROW, MicroBatch
from train.config import RunConfig
from train.distributed import make_accelerator, new_sum, seed_dropout
from train.loop import load_trainer, prepare_once
from train.run.checkpoints import Checkpoints
from train.run.failed_update import check_identity, examples, module_norms, read_micro_batches, read_report
from train.run.folder import reject_links_in_run
from train.setup import Setup, make_setup
from train.trainer import Trainer
from transformer.model import GPT, Transformer

SHOWN = 5
"""Most examples that are printed."""


@dataclass(frozen=True)
class NonFiniteOutput:
    """The first output of a module that is not finite."""

    module: str
    micro_batch: MicroBatch
    indices: list[int]
    """Training examples with non-finite output."""
    examples: list[dict[str, Any]]
    """Index and text of the first of them."""

    def describe(self) -> str:
        """Return a sentence and the first examples."""
        real = int((self.micro_batch.indices != PADDING_ROW).sum())
        sentence = (
            f"The first module with non-finite output is {self.module}, in micro-batch {self.micro_batch.number} of "
            f"bucket batch {self.micro_batch.bucket_batch}, for {len(self.indices)} of its {real} examples:"
        )
        return "\n".join([sentence, *(json.dumps(example, ensure_ascii=False) for example in self.examples)])


@dataclass(frozen=True)
class Recomputed:
    """Result of the second computation."""

    loss: float
    gradient_norm: float
    gradient_norms: dict[str, float]
    """Gradient norm of each module."""
    first: NonFiniteOutput | None
    """None if the outputs of all modules are finite."""

    def compare(self, report: dict[str, Any]) -> str:
        """Return a table of the first and the second computation, and the likely cause."""
        rows: list[tuple[float | str, float | str, str]] = [
            ("in training", "in the replay", f"update {report['step']}"),
            (report["loss"], self.loss, "loss"),
            (report["gradient_norm"], self.gradient_norm, "gradient norm"),
        ]
        rows += [
            (report["gradient_norms"].get(module, "-"), norm, f"gradient norm of {module}")
            for module, norm in self.gradient_norms.items()
        ]
        table = [f"{then:>24}  {now:>24}  {value}" for then, now, value in rows]
        return "\n".join([*table, "", self._cause()])

    def _cause(self) -> str:
        if self.first is not None:
            return self.first.describe()
        if math.isfinite(self.loss) and math.isfinite(self.gradient_norm):
            return "All values are finite in the replay, so neither the weights nor the data caused the failure."
        return "The outputs of all modules are finite, so the failure arose in the loss or in the backward pass."


def recompute(folder: Path) -> Recomputed:
    """Compute the update that `save_failed_update` saved in `folder`, in one process and without torch.compile.

    Raises InputError if the data or the checkpoint have changed since then.
    """
    reject_links_in_run(folder)
    report, config = read_report(folder), load_saved_settings(RunConfig, folder / "config.yaml")
    set_threads(config.train.threads)
    setup = make_setup(config, prepare_once(config))
    check_identity(report, setup)
    trainer = _restore_trainer(setup, folder)
    device, tokens = trainer.accelerator.device, max(1, report["predicted_tokens"])
    total, first = new_sum(trainer.accelerator), None
    for micro_batch in read_micro_batches(report):
        seed_dropout(micro_batch.dropout_seed, device)
        batch = _make_batch(setup, micro_batch).to(device)
        with watch_outputs(trainer.model) as found:
            total += trainer.backward(batch, 1 / tokens)
        if first is None and found:
            first = _locate(setup, micro_batch, *found[0])
    norm = trainer.gradient_norm()
    return Recomputed(float(total) / tokens, float(norm), module_norms(trainer.model), first)


def _make_batch(setup: Setup, micro_batch: MicroBatch) -> Batch:
    try:
        return setup.prepared.train.batch(micro_batch)
    except (IndexError, ValueError) as error:
        raise InputError(f"the report of the failed update does not fit the data: {first_line(error)}") from error


def _restore_trainer(setup: Setup, folder: Path) -> Trainer:
    """Return a trainer with the checkpoint from before the update."""
    config = replace(setup.config, train=replace(setup.config.train, log_with="none", compile=False))
    accelerator = make_accelerator(config.train, folder)
    if accelerator.num_processes > 1:
        raise InputError("a replay runs in one process: start it with python, not with accelerate launch")
    if (checkpoint := Checkpoints(folder).newest()) is None:
        raise InputError(f"{folder} has no checkpoint, so the update cannot be computed again")
    return load_trainer(config, setup.prepared, checkpoint, accelerator)[0]


def _locate(setup: Setup, micro_batch: MicroBatch, module: str, rows: list[bool]) -> NonFiniteOutput:
    found = [i for i, bad in zip(micro_batch.indices.tolist(), rows, strict=True) if bad and i != PADDING_ROW]
    texts = {example["index"]: example for example in examples(setup, micro_batch)}
    return NonFiniteOutput(module, micro_batch, found, [texts[i] for i in found[:SHOWN]])


@contextmanager
def watch_outputs(model: Transformer | GPT) -> Iterator[list[tuple[str, list[bool]]]]:
    """Collect the first module, in the order of the forward pass, whose output is not finite.

    Yields a list that gets one entry: the name of the module, and for each row of the batch, True if it is not finite.
    """
    found: list[tuple[str, list[bool]]] = []

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def check(module: nn.Module, inputs: Any, output: Any) -> None:
            if found or not isinstance(output, Tensor):
                return
            bad = ~output.detach().isfinite().flatten(1).all(dim=1)
            if bad.any():
                found.append((name, bad.tolist()))

        return check

    def compute_logits(decoder: nn.Module, inputs: Any, x_BLD: Tensor) -> None:
        # In training, the loss computes the logits without a call of the output layer.
        with torch.no_grad():
            model.output(x_BLD)

    hooks = [module.register_forward_hook(make_hook(name)) for name, module in model.named_modules() if name]
    hooks.append(model.decoder.register_forward_hook(compute_logits))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
