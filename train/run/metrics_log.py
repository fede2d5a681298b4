"""The logs of a run. `timing.jsonl` depends on the machine. `metrics.jsonl` has the other numbers, and `samples.jsonl`
has text and attention (`train/run/samples.py`): both are the same if the run is repeated.

Each line is a JSON object with the update's number, `step`.
"""

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.files import append_text, read_small, write_text

SAMPLES_FILE = "samples.jsonl"
LARGEST = 1e100
"""Numbers of a log that are not below it, and NaN, are not those of a run."""


class MetricsLog:
    """Appends lines to the logs. No line is repeated or lost if the run is stopped and resumed.

    Args: `step` and `metrics` are those of the checkpoint that the run resumes from: its metrics replace
    `metrics.jsonl`, and the lines of later updates are removed from the other logs.
    """

    def __init__(self, run_dir: Path, step: int, metrics: str) -> None:
        self.metrics_file, self.timing_file = run_dir / "metrics.jsonl", run_dir / "timing.jsonl"
        write_text(self.metrics_file, metrics)
        self.samples_file = run_dir / SAMPLES_FILE
        for file in (self.timing_file, self.samples_file):
            if file.exists():
                write_text(file, "".join(_lines_until(file, step)))

    def read_metrics(self) -> str:
        """Return all lines of `metrics.jsonl`."""
        return self.metrics_file.read_text(encoding="utf-8")

    def add_metrics(self, step: int, values: dict[str, float]) -> None:
        """Append values that do not depend on the machine. JSON has no NaN or infinity: such values are omitted."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        _append(self.metrics_file, {"step": step, **finite})

    def add_timing(self, step: int, values: dict[str, float]) -> None:
        """Append values that depend on the machine, with the time of day (Unix time in seconds)."""
        _append(self.timing_file, {"step": step, "time": round(time.time(), 3), **values})

    def add_samples(self, step: int, samples: dict[str, Any]) -> None:
        """Append what `make_samples` has returned."""
        _append(self.samples_file, {"step": step, **samples})


def read_samples(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of `samples.jsonl`, oldest first; [] if there is no such file. Their content is not checked."""
    path = run_dir / SAMPLES_FILE
    return [json.loads(line) for line in _lines_until(path, math.inf)] if path.is_file() else []


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the lines of `metrics.jsonl` or `timing.jsonl`, oldest first; [] if there is no such file.

    Lines that no run writes in full are ignored: the run may still write the last one, or be from somebody else.
    """
    text = read_small(path).decode(errors="replace") if path.is_file() else ""
    return [values for line in text.splitlines() if (values := _parse(line))]


def _parse(line: str) -> dict[str, float]:
    """Return the names and numbers of a line; {} for anything else."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict) or not all(re.fullmatch(r"\w+", name) for name in values):
        return {}
    numbers = all(type(value) in (int, float) and abs(value) < LARGEST for value in values.values())
    return values if numbers and type(values.get("step")) is int and values["step"] >= 0 else {}


def _append(path: Path, line: dict[str, Any]) -> None:
    append_text(path, json.dumps(line) + "\n")


def _lines_until(path: Path, step: float) -> Iterator[str]:
    for line in read_small(path).decode(errors="replace").splitlines(keepends=True):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the run was killed while it wrote this line
        written = values.get("step") if isinstance(values, dict) else None
        if line.endswith("\n") and isinstance(written, int) and written <= step:
            yield line
