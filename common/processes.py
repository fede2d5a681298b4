"""The processes of an `accelerate launch`: what training and reporting must know of them alike."""

import os
import sys

from accelerate import Accelerator

from common.errors import InputError


def check_world_size(accelerator: Accelerator) -> None:
    """Raise ValueError where accelerate does not see the launcher's processes: each would do all of the work."""
    announced = os.environ.get("WORLD_SIZE", "1")
    if announced != str(accelerator.num_processes):
        raise InputError(
            f"WORLD_SIZE is {announced}, but accelerate sees {accelerator.num_processes} process; every process would "
            f"work alone: start with `accelerate launch --multi_gpu --num_processes {announced} {sys.argv[0]}`, for "
            "CPU processes with ACCELERATE_USE_CPU=true before it"
        )
