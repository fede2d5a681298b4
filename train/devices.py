"""What the loop asks of accelerate: the processes, their threads, and small sums over them."""

import importlib.util
import math
import os
import signal
import sys
import time
import types
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor

from evaluate.ranks import check_world_size
from train.config import TrainConfig


def local_rank() -> int:
    """This process among those of its host; known before any group exists."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def set_threads(threads: int | None) -> None:
    """CPU threads of this process. `accelerate launch` sets one; the cores shared among the processes are more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def make_accelerator(config: TrainConfig, run_dir: Path) -> Accelerator:
    """Raises ValueError where accelerate is set up for something that this trainer does not do."""
    check_tracker(config.log_with)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    accelerator = Accelerator(
        mixed_precision="no" if config.precision == "float64" else config.precision,
        log_with=None if config.log_with == "none" else config.log_with,
        project_dir=run_dir,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timedelta(hours=1)),
            DistributedDataParallelKwargs(broadcast_buffers=False),  # they are computed, and equal everywhere
        ],
    )
    check_world_size(accelerator)
    if accelerator.distributed_type not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        raise ValueError(
            f"accelerate is configured for {accelerator.distributed_type}, which this trainer does not support; "
            "choose plain multi-GPU (`accelerate config`, or `accelerate launch --multi_gpu`)"
        )
    if config.precision == "fp16" and accelerator.device.type != "cuda":
        raise ValueError(f"train.precision=fp16 needs a CUDA GPU, not {accelerator.device.type}; take bf16 or no")
    if accelerator.device.type == "cpu" and config.precision == "bf16":
        # In bf16 PyTorch's fused attention for CPUs goes backward slowly: an update of a model with d_model 256
        # and sentences of 18 tokens takes 1.17 times as long as with the plain products.
        torch.backends.cuda.enable_flash_sdp(False)
    return accelerator


def check_tracker(name: str) -> None:
    """Raises ValueError where the tracker's package is missing; accelerate would log nothing and say nothing."""
    if name in ("wandb", "trackio") and importlib.util.find_spec(name) is None:
        raise ValueError(f"train.log_with={name} needs a package that is missing: pip install {name}")


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the generator that dropout on `device` draws from; `torch.manual_seed`, which seeds all, takes longer."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


def new_sum(accelerator: Accelerator) -> Tensor:
    """A zero to add losses to: double precision, except on Apple's GPUs, which have none."""
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    return torch.zeros((), dtype=dtype, device=accelerator.device)


def sum_over_ranks(accelerator: Accelerator, values: Tensor) -> list[float]:
    """One small sum over all ranks, read by the host: the only synchronisation of an update."""
    total = accelerator.reduce(values, reduction="sum")
    assert isinstance(total, Tensor)
    return [float(x) for x in total.tolist()]


def check_equal_steps(accelerator: Accelerator, step: int) -> None:
    """Raises ValueError where the ranks would continue from different updates."""
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            f"the ranks found checkpoints of different updates ({', '.join(map(str, steps))}): "
            "the run folder must be one that all hosts share"
        )


Reason = Literal["signal", "time"]


class StopRequest:
    """SIGINT, SIGTERM and SIGHUP ask for an end at the next update, and so does the clock; a second SIGINT does not
    wait. `until` is a time of `time.monotonic`."""

    def __init__(self, until: float = math.inf) -> None:
        self.number: int | None = None
        self.until = until
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def asked(self) -> tuple[bool, bool]:
        """Whether this process got a signal, and whether its time is over; see `agreed`."""
        return self.number is not None, time.monotonic() > self.until

    @staticmethod
    def agreed(answers: Sequence[float]) -> Reason | None:
        """Why all ranks stop, from how many of them got a signal and how many are overdue; None: they go on."""
        signals, overdue = answers
        if signals > 0:
            return "signal"
        return "time" if overdue > 0 else None

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if local_rank() == 0:
            print("stopping after this update; Ctrl-C again gives it up", file=sys.stderr, flush=True)
