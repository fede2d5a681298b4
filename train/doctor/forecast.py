"""Memory of the largest micro-batch, time of the updates, and floating-point operations of a run."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from common.memory import GIB, machine_memory
from data_pipeline.config import Task
from data_pipeline.micro_batches import MicroBatch, choose_split, largest_micro_batch
from train.doctor.findings import Finding, grade
from train.doctor.flops import update_flops
from train.loss import most_rows
from train.optimizer import make_optimizer
from train.run_time import BUSY, duration
from train.setup import Setup, block_length
from train.trainer import Trainer
from transformer.config import ModelConfig
from transformer.model import build, count_parameters

TIMED_UPDATES = 3
TIMED_SECONDS = 15.0
"""No update is started after this time. Of an update that takes longer, only the first micro-batches are timed."""


@dataclass(frozen=True)
class MemoryNeed:
    """Estimated memory of a run in bytes."""

    weights: float
    """Weights, gradients and Adam's two moments: 16 bytes per weight in fp32."""
    activations: float
    """Activations that the forward pass of a micro-batch keeps for the backward pass."""

    def __str__(self) -> str:
        return f"weights and Adam {self.weights / GIB:.2f} GiB, activations about {self.activations / GIB:.2f} GiB"


def estimate_memory(setup: Setup, device: torch.device) -> MemoryNeed:
    """Return an estimate that needs no computation on the device."""
    with torch.device("meta"):
        parameters = count_parameters(build(setup.config.model))
    size = 8 if setup.config.train.precision == "float64" else 4
    activations = activation_numbers(setup.config.model, largest(setup), most_rows(device))
    return MemoryNeed(4.0 * size * parameters, size * activations)


def activation_numbers(shape: ModelConfig, micro_batch: MicroBatch, block: int) -> float:
    """Return roughly how many numbers the forward pass of a micro-batch keeps.

    14 d + 3 d_ff for each layer and position, 10 d more in a decoder with an encoder, the logits of a block of tokens,
    and the gradient of the output layer. Attention weights are omitted, because fused kernels do not store them.

    Args:
        block: most target positions whose logits exist at the same time.
    """
    layer = 14 * shape.d_model + 3 * shape.d_ff
    decoder, encoder = (layer, 0) if shape.architecture == "gpt" else (layer + 10 * shape.d_model, layer)
    sources, targets = (len(micro_batch.indices) * length for length in (micro_batch.src_len, micro_batch.tgt_len))
    of_layers = shape.n_layers * encoder * sources + shape.decoder_layers * decoder * targets
    return float(of_layers + shape.vocab_size * (min(targets, block) + shape.d_model))


def split_on_one_device(setup: Setup) -> int:
    """Return the number of micro-batches per bucket batch on one device."""
    return choose_split(setup.plan.shapes, setup.plan.per_update, 1, setup.config.batches.micro_tokens)


def largest(setup: Setup) -> MicroBatch:
    """Return the micro-batch that needs the most memory."""
    return largest_micro_batch(setup.plan.shapes, split_on_one_device(setup))


def check_weights_fit(need: MemoryNeed, device: torch.device) -> Finding | None:
    """Return an error if weights, gradients and Adam's moments do not fit into the memory of the device."""
    there = memory_of(device)
    if need.weights < there:
        return None
    message = f"the model does not fit into the {there / GIB:.1f} GiB of this {device.type} ({need})"
    advice = "lower model.n_layers, model.d_model or model.d_ff, or use a device with more memory"
    return Finding("memory", "error", message, advice)


def forecast_findings(setup: Setup, accelerator: Accelerator, need: MemoryNeed) -> Iterator[Finding]:
    """Measure memory and time with the model, the optimizer and the precision of the run."""
    config, device, micro_batch = setup.config, accelerator.device, largest(setup)
    advice = f"set batches.micro_tokens={max(1, micro_batch.positions // 2)}; the updates stay the same"
    message = (
        f"the largest micro-batch, {describe_shape(setup, micro_batch)}, does not fit into "
        f"{memory_of(device) / GIB:.1f} GiB ({need})"
    )
    too_large = Finding("memory", "error", message, advice)
    if device.type == "cpu" and need.weights + need.activations > memory_of(device):
        yield too_large  # not tried, because the operating system would kill this process
        return
    since_now = reset_peak(device)
    torch.manual_seed(config.train.seed)
    dtype = torch.float64 if config.train.precision == "float64" else torch.float32
    model = build(config.model).to(device, dtype)
    config = replace(config, train=replace(config.train, compile=False))
    timer = UpdateTimer(
        setup, accelerator, Trainer(model, make_optimizer(model, config.optimizer), accelerator, config)
    )
    try:
        timer.run([micro_batch])
    except torch.OutOfMemoryError:
        yield too_large
        return
    yield check_memory(setup, device, micro_batch, need, since_now)
    yield check_time(timer, model)


def check_memory(
    setup: Setup, device: torch.device, micro_batch: MicroBatch, need: MemoryNeed, since_now: bool
) -> Finding:
    """Compare the peak memory with the memory of the device. `since_now` is what `reset_peak` returned."""
    there = memory_of(device)
    if device.type == "cuda":
        used, what = float(torch.cuda.max_memory_allocated(device)), "allocated by PyTorch"
    else:
        used, what = peak_of_process(), "used by this process, libraries included"
        what += "" if since_now else ", since its start"
    message = (
        f"peak of {used / GIB:.2f} GiB, of {there / GIB:.1f} GiB ({what}), with the largest micro-batch, "
        f"{describe_shape(setup, micro_batch)} (estimate: {need})"
    )
    return grade("memory", used / there, 0.85, 0.97, message, "lower batches.micro_tokens; the updates stay the same")


def reset_peak(device: torch.device) -> bool:
    """Reset the measurement of peak memory. Return False if the operating system cannot do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_of_process() -> float:
    """Return the peak main memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1024
    import resource  # not on Windows

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def memory_of(device: torch.device) -> float:
    """Return the memory of a device in bytes; for a CPU, the memory of the machine or of the container."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()


@dataclass(frozen=True)
class UpdateTimer:
    """Times updates of a model on the device. The trained weights are not used."""

    setup: Setup
    accelerator: Accelerator
    trainer: Trainer

    def run(self, micro_batches: list[MicroBatch]) -> float:
        """Run an update and return its seconds. If time is short, the last micro-batches are extrapolated."""
        done, seconds = 0, 0.0
        for micro_batch in micro_batches:
            batch = self.setup.prepared.train.batch(micro_batch)  # not timed: training makes it in another thread
            started = time.perf_counter()
            self.trainer.backward(batch.to(self.accelerator.device), 1 / batch.labels_BL.numel())
            self._synchronise()
            seconds += time.perf_counter() - started
            done += positions(micro_batch)
            if seconds > TIMED_SECONDS:
                break
        started = time.perf_counter()
        self.trainer.optimizer.step()
        self.trainer.clear_gradient()
        self._synchronise()
        return seconds * sum(map(positions, micro_batches)) / done + time.perf_counter() - started

    def _synchronise(self) -> None:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()


def check_time(timer: UpdateTimer, model: nn.Module) -> Finding:
    """Forecast seconds and floating-point operations of the run from the first updates of its plan."""
    setup, device = timer.setup, timer.accelerator.device
    config, plan, split = setup.config, setup.plan, split_on_one_device(setup)
    seconds, src, tgt = [], [], []
    started, cpu_started = time.perf_counter(), time.process_time()
    for step in range(min(TIMED_UPDATES, config.train.max_steps)):
        update = plan.update(step)
        seconds.append(timer.run(update.micro_batches(split, world_size=1)))
        src.append(update.src_tokens)
        tgt.append(update.predicted_tokens)
        if time.perf_counter() - started > TIMED_SECONDS:
            break
    cpu_share = (time.process_time() - cpu_started) / (time.perf_counter() - started) / torch.get_num_threads()
    per_update, source, target = (float(np.mean(each)) for each in (seconds, src, tgt))
    flops = update_flops(model, config.model, block_length(config), source, target)
    tokens = {1: f"{source:,.0f} tokens", 2: f"{source:,.0f} source and {target:,.0f} target tokens"}
    steps = config.train.max_steps
    hours = per_update * steps / 3600
    message = (
        f"{steps:,} updates x {per_update:.3g} s (mean of {len(seconds)}) = {duration(hours)} on one {device.type} "
        f"({torch.get_num_threads()} threads, precision {config.train.precision}, not compiled), without validation "
        f"and checkpoints; {flops * steps:.2e} FLOP ({flops / 1e9:,.0f} GFLOP per update of "
        f"{tokens[len(setup.prepared.train.stores)]}), {flops / per_update / 1e9:,.0f} GFLOP/s"
    )
    if device.type == "cpu" and cpu_share < BUSY:
        message += f"; other programs were running: this process had the CPU for {cpu_share:.0%} of the time"
        hours *= cpu_share  # they may end
    return grade_time(hours, message, config.data.task)


def grade_time(hours: float, message: str, task: Task) -> Finding:
    """Return a warning above a day, and an error above ten."""
    smaller = "set size=auto, " if task == "translation" else ""
    return grade("time", hours, 24, 240, message, f"{smaller}use faster or more devices, or lower train.max_steps")


def positions(micro_batch: MicroBatch) -> int:
    """Return the source and target positions of a micro-batch, with padding."""
    return len(micro_batch.indices) * (micro_batch.src_len + micro_batch.tgt_len)


def describe_shape(setup: Setup, micro_batch: MicroBatch) -> str:
    """Return the number of rows and their lengths in words."""
    source, target = micro_batch.src_len, micro_batch.tgt_len
    lengths = {1: f"{target} tokens", 2: f"{source} source and {target} target tokens"}
    return f"{len(micro_batch.indices)} rows of {lengths[len(setup.prepared.train.stores)]}"
