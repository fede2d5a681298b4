"""The processes of an `accelerate launch`: local rank, world size, CPU threads."""

import os
import sys

import torch
from accelerate import Accelerator

from common.errors import InputError


def local_rank() -> int:
    """Return the number of this process on its host. It is known before any process group exists."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def set_threads(threads: int | None) -> None:
    """Set the CPU threads of this process. None: the cores of the host divided by its processes.

    `accelerate launch` would leave one thread per process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def check_world_size(accelerator: Accelerator) -> None:
    """Raise InputError if accelerate does not see the processes of the launcher: each would do all of the work."""
    announced = os.environ.get("WORLD_SIZE", "1")
    if announced != str(accelerator.num_processes):
        raise InputError(
            f"WORLD_SIZE is {announced}, but accelerate sees {accelerator.num_processes} process, so each process "
            f"would do all of the work. Start with `accelerate launch --multi_gpu --num_processes {announced} "
            f"{sys.argv[0]}`. For CPU processes, put ACCELERATE_USE_CPU=true before the command"
        )
