"""The folder of a run: one writer, one config, and metrics that never repeat or miss a line.

`metrics.jsonl` holds what a repeated run gives again; `timing.jsonl` what depends on the machine and the hour.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs import loader
from train.config import MAY_CHANGE, RunConfig


@contextmanager
def exclusive(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock file; it is free again when the process ends, however it ends.

    Raises ValueError at once when another process holds it and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ValueError(
                f"another process is training in {path.parent}: wait until it ends, or give this run its own run_dir"
            ) from error
        yield


def settle_config(run_dir: Path, config: RunConfig) -> None:
    """Write `config.yaml` of a new run; for one to be continued, accept only what `MAY_CHANGE`.

    Raises ValueError that lists every other difference.
    """
    path = run_dir / "config.yaml"
    if path.exists():
        old, new = loader.flatten(loader.load(RunConfig, path)), loader.flatten(config)
        changed = [
            f"{name} was {old[name]} and is {new[name]}"
            for name in new
            if old[name] != new[name] and name not in MAY_CHANGE and not name.startswith("decode.")
        ]
        if changed:
            raise ValueError(
                f"{run_dir} holds a run with other settings: {'; '.join(changed)}; "
                "continue it with its own settings, or name another run_dir"
            )
    write_whole(path, loader.dump(config))


def write_whole(path: Path, text: str) -> None:
    """Replace a file by `text`; a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Journal:
    """Appends JSON lines. A continued run first drops the lines after the update it continues from."""

    def __init__(self, run_dir: Path, continue_from: int) -> None:
        self.metrics_file, self.timing_file = run_dir / "metrics.jsonl", run_dir / "timing.jsonl"
        for path in (self.metrics_file, self.timing_file):
            if path.exists():
                write_whole(path, "".join(_lines_until(path, continue_from)))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """One line that the same run would give again."""
        _append(self.metrics_file, {"step": step, **values})

    def timing(self, step: int, values: dict[str, float]) -> None:
        """One line about this machine at this hour."""
        _append(self.timing_file, {"step": step, "time": round(time.time(), 3), **values})


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _lines_until(path: Path, step: int) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            known = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed while it wrote
        if line.endswith("\n") and known["step"] <= step:
            yield line
