"""What the loop asks of accelerate: the processes, their threads, and one small sum over them."""

import os
import signal
import types
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

from train.config import TrainConfig


def is_first_process() -> bool:
    """True in the one process of this host that prepares and prints; known before any group exists."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def set_threads(threads: int | None) -> None:
    """CPU threads of this process. `accelerate launch` sets one; the cores shared among the processes are more."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // local))


def make_accelerator(config: TrainConfig, run_dir: Path) -> Accelerator:
    """Raises ValueError where the launcher's processes and accelerate's do not agree."""
    accelerator = Accelerator(
        mixed_precision="no" if config.precision == "float64" else config.precision,
        log_with=None if config.log_with == "none" else config.log_with,
        project_dir=run_dir,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=1))],
    )
    announced = int(os.environ.get("WORLD_SIZE", "1"))
    if announced != accelerator.num_processes:
        raise ValueError(
            f"WORLD_SIZE is {announced}, but accelerate sees {accelerator.num_processes} process; every process would "
            "train alone: start with `accelerate launch --multi_gpu --num_processes "
            f"{announced} train/train.py`, for CPU processes with ACCELERATE_USE_CPU=true before it"
        )
    if accelerator.distributed_type not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        raise ValueError(
            f"accelerate is configured for {accelerator.distributed_type}, which this trainer does not support; "
            "choose plain multi-GPU (`accelerate config`, or `accelerate launch --multi_gpu`)"
        )
    if accelerator.device.type == "cpu" and config.precision in ("bf16", "fp16"):
        # In half precision PyTorch's fused attention for CPUs goes backward slowly: an update of a model with
        # d_model 256 and sentences of 18 tokens takes 1.17 times as long as with the plain products.
        torch.backends.cuda.enable_flash_sdp(False)
    return accelerator


def sum_over_ranks(accelerator: Accelerator, values: Tensor) -> list[float]:
    """One small sum over all ranks, read by the host: the only synchronisation of an update."""
    total = accelerator.reduce(values.double(), reduction="sum")
    assert isinstance(total, Tensor)
    return [float(x) for x in total.tolist()]


class StopRequest:
    """SIGINT and SIGTERM ask for an end at the next update; a second SIGINT does not wait."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
