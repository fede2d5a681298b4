"""The CPU cores of this host."""

import os


def cores_per_rank() -> int:
    """Return the cores of this host divided by the processes that `accelerate launch` started on it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
