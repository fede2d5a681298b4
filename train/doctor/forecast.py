"""What a run needs: the memory of its largest batch, the seconds of its updates, its floating-point operations."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from data_pipeline.micro_batches import MicroBatch, choose_split, largest_micro_batch
from train.doctor.findings import Finding, graded
from train.doctor.flops import update_flops
from train.optimizer import make_optimizer
from train.tasks import Task
from train.trainer import Updater
from transformer.config import ModelConfig
from transformer.model import GPT, build, count_parameters

TIMED_UPDATES = 3
TIMED_SECONDS = 15.0
"""No further update is timed after so long, and one that takes longer is measured in part."""
GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Memory of a run in bytes."""

    weights: float
    """16 for each weight in fp32: itself, its gradient and Adam's two moments."""
    activations: float
    """What forward and backward of a slice keep."""

    def __str__(self) -> str:
        return f"weights and Adam {self.weights / GIB:.2f} GiB, activations about {self.activations / GIB:.2f} GiB"


def needed(task: Task) -> Need:
    """Estimated, before anything is computed."""
    with torch.device("meta"):
        parameters = count_parameters(build(task.config.model))
    settings = task.config.train
    size = 8 if settings.precision == "float64" else 4
    part = largest(task)
    return Need(4.0 * size * parameters, size * activation_numbers(task.config.model, part))


def split_of(task: Task) -> int:
    """Micro-batches of each bucket batch on one device."""
    return choose_split(task.plan.shapes, task.plan.per_update, 1, task.config.batches.micro_tokens)


def largest(task: Task) -> MicroBatch:
    """The micro-batch that needs the most memory."""
    return largest_micro_batch(task.plan.shapes, split_of(task))


def activation_numbers(shape: ModelConfig, part: MicroBatch) -> float:
    """What forward and backward of a slice keep in memory, roughly: 14 d + 3 d_ff numbers for each layer and position,
    10 d more in a decoder with an encoder, attention weights aside; and three times the logits."""
    layer = 14 * shape.d_model + 3 * shape.d_ff
    decoder, encoder = (layer, 0) if shape.architecture == "gpt" else (layer + 10 * shape.d_model, layer)
    numbers = shape.n_layers * (encoder * part.src_len + decoder * part.tgt_len) + 3 * shape.vocab_size * part.tgt_len
    return float(numbers * len(part.indices))


def check_weights_fit(need: Need, device: torch.device) -> Finding | None:
    """A fault where the model, its gradients and Adam alone are more than the device has: nothing can be tried."""
    there = memory_of(device)
    if need.weights < there:
        return None
    message = f"the model does not fit into the {there / GIB:.1f} GiB of this {device.type} ({need})"
    return Finding("memory", "fault", message, "lower model.n_layers, model.d_model or model.d_ff, or take more memory")


def forecast_findings(task: Task, accelerator: Accelerator, need: Need) -> Iterator[Finding]:
    """Memory and time of the run, measured with the model, the optimizer and the precision of the config."""
    config, device = task.config, accelerator.device
    part = largest(task)
    half = f"set batches.micro_tokens to {max(1, part.positions // 2)}: updates stay"
    too_large = (
        f"the largest batch, {describe(task, part)}, does not fit into {memory_of(device) / GIB:.1f} GiB ({need})"
    )
    if device.type == "cpu" and need.weights + need.activations > memory_of(
        device
    ):  # the system would end this process
        yield Finding("memory", "fault", too_large, half)
        return
    since_now = reset_peak(device)
    torch.manual_seed(config.train.seed)
    dtype = torch.float64 if config.train.precision == "float64" else torch.float32
    model = build(config.model).to(device, dtype)
    config = replace(config, train=replace(config.train, compile=False))
    bench = Bench(task, accelerator, Updater(model, make_optimizer(model, config.optimizer), accelerator, config))
    try:
        bench.learn([part])
    except torch.OutOfMemoryError:
        yield Finding("memory", "fault", too_large, half)
        return
    yield check_memory(task, device, part, need, since_now)
    yield check_time(bench, model)


def check_memory(task: Task, device: torch.device, part: MicroBatch, need: Need, since_now: bool) -> Finding:
    """The most memory that was in use since `reset_peak`, and how much there is."""
    there = memory_of(device)
    if device.type == "cuda":
        used, what = float(torch.cuda.max_memory_allocated(device)), "allocated by PyTorch"
    else:
        used, what = peak_of_process(), "held by this process, libraries included"
        what += "" if since_now else ", since it started"
    message = (
        f"{used / GIB:.2f} of {there / GIB:.1f} GiB at the most, {what}, with the largest batch, "
        f"{describe(task, part)} ({need})"
    )
    return graded(
        "memory", used / there, 0.85, 0.97, message, "lower batches.micro_tokens: the updates stay as they are"
    )


def reset_peak(device: torch.device) -> bool:
    """Let the measure of most memory begin anew. False where this system cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_of_process() -> float:
    """Bytes of main memory that this process held at the most."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def memory_of(device: torch.device) -> float:
    """Bytes of the device; of a CPU, what the machine or the container has."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return physical if text == "max" else min(physical, float(text))


@dataclass(frozen=True)
class Bench:
    """A model that learns on the device, to be measured; its weights are thrown away."""

    task: Task
    accelerator: Accelerator
    updater: Updater

    def learn(self, parts: list[MicroBatch]) -> float:
        """An update of these slices, or of the first of them where time is short: seconds, for all of them."""
        done, seconds = 0, 0.0
        for part in parts:
            batch = self.task.prepared.train.batch(part)  # the loop makes it while the last one is computed
            started = time.perf_counter()
            self.updater.backward(batch.to(self.accelerator.device), 1 / batch.labels_BL.numel())
            self._wait()
            seconds += time.perf_counter() - started
            done += positions(part)
            if seconds > TIMED_SECONDS:
                break
        started = time.perf_counter()
        self.updater.optimizer.step()
        self.updater.forget()
        self._wait()
        return seconds * sum(map(positions, parts)) / done + time.perf_counter() - started

    def _wait(self) -> None:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()


def check_time(bench: Bench, model: nn.Module) -> Finding:
    """Seconds and floating-point operations of the whole run, from the first updates of its plan."""
    config, plan, device = bench.task.config, bench.task.plan, bench.accelerator.device
    split = split_of(bench.task)
    seconds, src, tgt = [], [], []
    started, processor = time.perf_counter(), time.process_time()
    for step in range(min(TIMED_UPDATES, config.train.max_steps)):
        update = plan.update(step)
        seconds.append(bench.learn(update.micro_batches(split, world_size=1)))
        src.append(update.src_tokens)
        tgt.append(update.predicted_tokens)
        if time.perf_counter() - started > TIMED_SECONDS:
            break
    ours = (time.process_time() - processor) / (time.perf_counter() - started) / torch.get_num_threads()
    per_update, source, target = (float(np.mean(each)) for each in (seconds, src, tgt))
    work = update_flops(model, config.model, config.batches.block or config.model.max_len, source, target)
    tokens = f"{source:,.0f} " + ("tokens" if isinstance(model, GPT) else f"source and {target:,.0f} target tokens")
    steps = config.train.max_steps
    hours = per_update * steps / 3600
    message = (
        f"{steps:,} updates x {per_update:.3g} s (mean of {len(seconds)}) = {duration(hours)} on one {device.type} "
        f"({torch.get_num_threads()} threads, precision {config.train.precision}, not compiled), validation and "
        f"checkpoints aside; {work * steps:.2e} FLOP ({work / 1e9:,.0f} G an update: 6 for each weight of a matrix "
        f"and token, {tokens}), {work / per_update / 1e9:,.0f} GFLOP/s"
    )
    if device.type == "cpu" and ours < 0.7:
        message += f"; other programs were running: the processor was this one's for {ours:.0%} of the time"
    cure = "take a faster device or several, or lower train.max_steps"
    return graded("time", hours, 7 * 24, float("inf"), message, cure)


def positions(part: MicroBatch) -> int:
    """Token positions of a slice, padding included."""
    return len(part.indices) * (part.src_len + part.tgt_len)


def describe(task: Task, part: MicroBatch) -> str:
    """Its shape."""
    source = "" if task.config.data.task == "language_modelling" else f"{part.src_len} and "
    return f"{len(part.indices)} rows of {source}{part.tgt_len} tokens"


def duration(hours: float) -> str:
    """For people."""
    if hours < 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
