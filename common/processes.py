"""The processes of an `accelerate launch`: local rank, world size, CPU threads."""

import os
import re
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import Accelerator

from common.cores import cores_per_rank
from common.errors import InputError


def local_rank() -> int:
    """Return the number of this process on its host. It is known before any process group exists."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def set_threads(threads: int | None) -> None:
    """Set the CPU threads of this process. None: the cores of the host divided by its processes.

    `accelerate launch` would leave one thread per process.
    """
    torch.set_num_threads(threads or cores_per_rank())


def check_launcher() -> None:
    """Raise InputError if `accelerate launch` was asked for several processes but started one.

    Without `--multi_gpu`, and also with `--cpu`, it ignores `--num_processes` and prints nothing about it.
    """
    asked, started = _asked_processes(), int(os.environ.get("WORLD_SIZE", "1"))
    if asked > started:
        raise InputError(
            f"accelerate launch was asked for {asked} processes, but it started {started}. Start with `accelerate "
            f"launch --multi_gpu --num_processes {asked} {sys.argv[0]}`. For CPU processes, put "
            "ACCELERATE_USE_CPU=true before the command instead of the option --cpu"
        )


def _asked_processes() -> int:
    """Return `--num_processes` of the `accelerate launch` that started this process; 1 without it."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return 1
    if not any(Path(word).name in ("accelerate", "accelerate-launch", "accelerate.commands.launch") for word in words):
        return 1
    found = re.search(r"\0--num[-_]processes[=\0](\d+)\0", "\0".join([*words, ""]))
    return int(found[1]) if found else 1


def check_world_size(accelerator: Accelerator) -> None:
    """Raise InputError if accelerate does not see the processes of the launcher: each would do all of the work."""
    announced = os.environ.get("WORLD_SIZE", "1")
    if announced != str(accelerator.num_processes):
        raise InputError(
            f"WORLD_SIZE is {announced}, but accelerate sees {accelerator.num_processes} process, so each process "
            f"would do all of the work. Start with `accelerate launch --multi_gpu --num_processes {announced} "
            f"{sys.argv[0]}`. For CPU processes, put ACCELERATE_USE_CPU=true before the command"
        )
