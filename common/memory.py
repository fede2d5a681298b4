"""The memory of this machine and of this process."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MIB, GIB = 2**20, 2**30


def machine_memory() -> float:
    """Return the memory of the machine or of the container in bytes; infinity if the system does not tell."""
    try:
        physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return float("inf")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return physical if text == "max" else min(physical, float(text))


def process_memory() -> float:
    """Return the memory that this process uses now, in bytes (resident set size)."""
    return float(psutil.Process().memory_info().rss)
