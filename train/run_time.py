"""How long a run takes on this machine: measured before its first update, and refused if it is more than two days."""

import time
from dataclasses import dataclass, replace

import torch

from common.errors import InputError
from data_pipeline.micro_batches import MicroBatch
from train.config import RunConfig
from train.setup import Setup
from train.trainer import Trainer

LONGEST_DAYS = 2
"""A new run that would take longer needs `train.long_run=true`."""
SAMPLE_POSITIONS = 768
"""Source or target positions of a timed micro-batch on a CPU, where small micro-batches are as fast as large ones."""
TIMED_SECONDS = 1.0
"""No micro-batch is started after this time."""
BUSY = 0.7
"""Share of its CPU time below which a process was slowed down by other programs."""


@dataclass(frozen=True)
class UpdateTime:
    """Measured speed of this machine."""

    seconds: float
    """Seconds of an update."""
    cpu_share: float
    """Share of the CPU time of its threads that this process had while it measured. 1 on a GPU."""

    def hours(self, updates: int) -> float:
        """Return the hours of this number of updates."""
        return self.seconds * updates / 3600

    @property
    def alone(self) -> "UpdateTime":
        """Speed without other programs."""
        return UpdateTime(self.seconds * self.cpu_share, 1.0) if self.cpu_share < BUSY else self


def measure_update(trainer: Trainer, setup: Setup, split: int) -> UpdateTime | None:
    """Return how long an update takes on this rank: forward and backward passes of the first update.

    Changes nothing. The optimizer step and the sums over ranks are not included. Returns None if the memory of the
    device is too small; `Trainer.check_memory` reports that. `split` is the number of micro-batches per bucket batch.
    """
    ranks, device = trainer.accelerator.num_processes, trainer.accelerator.device
    micro_batches = setup.plan.update(0).micro_batches(split, ranks)[trainer.accelerator.process_index :: ranks]
    samples = [shorten(each, SAMPLE_POSITIONS) if device.type == "cpu" else each for each in micro_batches]
    try:
        trainer.time_pass(setup.prepared.train.batch(samples[0]).to(device))  # the first pass allocates memory
        seconds, positions, cpu_started, started = 0.0, 0, time.process_time(), time.perf_counter()
        for sample in samples:
            seconds += trainer.time_pass(setup.prepared.train.batch(sample).to(device))
            positions += sample.positions
            if seconds > TIMED_SECONDS:
                break
    except torch.OutOfMemoryError:
        return None
    cpu_share = (time.process_time() - cpu_started) / (time.perf_counter() - started) / torch.get_num_threads()
    factor = sum(each.positions for each in micro_batches) / positions
    return UpdateTime(seconds * factor, cpu_share if device.type == "cpu" else 1.0)


def shorten(micro_batch: MicroBatch, positions: int) -> MicroBatch:
    """Return the first rows of a micro-batch, at least one, with at most this number of source or target positions."""
    rows = max(1, positions // max(micro_batch.src_len, micro_batch.tgt_len))
    return replace(micro_batch, indices=micro_batch.indices[:rows])


def describe_time(config: RunConfig, timing: UpdateTime, done: int) -> str:
    """Return a line with the time of the updates that are left. `done` is the number of updates already done."""
    left, limit = config.train.max_steps - done, config.train.max_hours
    hours = timing.hours(left)
    stops = f"; train.max_hours={limit:g} ends it earlier" if limit is not None and limit < hours else ""
    busy = f"; about {duration(timing.alone.hours(left))} if no other program used the CPU"
    return (
        f"time        about {duration(hours)}: {left:,} update{'s' * (left != 1)} x {timing.seconds:.3g} s, without "
        f"validation"
        f"{stops}{busy if timing.cpu_share < BUSY else ''}"
    )


def check_time(config: RunConfig, timing: UpdateTime, device: str) -> None:
    """Raise InputError if a new run would take more than `LONGEST_DAYS` days, and no setting allows that.

    The time without other programs counts, because they may end.
    """
    timing = timing.alone
    hours, limit = timing.hours(config.train.max_steps), config.train.max_hours
    longest = 24 * LONGEST_DAYS
    if hours <= longest or config.train.long_run or (limit is not None and limit <= longest):
        return
    smaller = "Set size=auto, which chooses a model for the text and the machine"
    if config.data.task == "language_modelling":
        smaller = "Choose a smaller model"
    raise InputError(
        f"this run would take about {duration(hours)} on this {device} ({config.train.max_steps:,} updates x "
        f"{timing.seconds:.3g} s); more than {LONGEST_DAYS} days need a decision. {smaller}, lower train.max_steps, "
        "use a faster machine, or set train.long_run=true to train all the same"
    )


def duration(hours: float) -> str:
    """Return a duration in seconds, minutes, hours or days."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
