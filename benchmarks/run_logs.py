"""Settings, metrics and times of a run folder."""

import json
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.settings import flatten_settings, load_saved_settings
from train.config import RunConfig

PLACES = ("data.train", "data.valid", "data.test", "data.cache_dir", "data.tokenizer", "train.init_from", "run_dir")
"""Settings that name files; results do not contain them."""
Line = dict[str, Any]


def read_settings(run: Path) -> dict[str, Any]:
    """Return all settings of a run, by their full names."""
    return flatten_settings(load_saved_settings(RunConfig, run / "config.yaml"))


def differs_from_base(settings: dict[str, Any], *ignored: str) -> dict[str, Any]:
    """Return the settings that differ from the paper's base, except names of files."""
    base = flatten_settings(RunConfig())
    return {k: v for k, v in settings.items() if v != base[k] and k not in (*PLACES, *ignored)}


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a JSON-lines file. An incomplete last line is ignored, as the run may still be writing it."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def read_validations(run: Path, measure: str = "valid_loss") -> list[Line]:
    """Return the metrics lines that have a measure of the validation."""
    return [line for line in read_lines(run / "metrics.jsonl") if measure in line]


class Clock:
    """Times of updates, from the lines of `timing.jsonl`. Raises InputError if it has no speed yet."""

    def __init__(self, timing: list[Line]) -> None:
        self.timing = timing
        self.blocks = [line for line in timing if "seconds_per_update" in line]
        if not self.blocks:
            raise InputError("timing.jsonl has no speed yet: wait for train.log_every updates")
        self.starts = find_starts(self.blocks)

    def training_seconds(self) -> float:
        """Return the seconds of all updates, without validation, checkpoints and interruptions."""
        return self.seconds(self.blocks[-1]["step"])

    def seconds(self, step: int) -> float:
        """Return the seconds of the updates until `step`, without validation, checkpoints and interruptions."""
        return sum(line["seconds_per_update"] * updates for line, updates in self._until(step))

    def tokens(self, step: int) -> float:
        """Return the number of target tokens until `step`, as precisely as the speed is written."""
        speeds = ((line["seconds_per_update"] * line["tgt_tokens_per_second"], n) for line, n in self._until(step))
        return sum(tokens * updates for tokens, updates in speeds)

    def clock_seconds(self, step: int) -> float:
        """Return the seconds until the last line of `step`, with validation and checkpoints. After an interruption,
        only the updates until the next line of speed count."""
        total, before = 0.0, {"step": 0, "time": 0.0}
        for line in (line for line in self.timing if line["step"] <= step):
            block = next((own for own in self.blocks if own["step"] >= line["step"]), self.blocks[-1])
            if block["step"] in self.starts and line["step"] > before["step"]:
                total += block["seconds_per_update"] * (line["step"] - before["step"])
            else:
                total += line["time"] - before["time"]
            before = line
        return total

    def _until(self, step: int) -> list[tuple[Line, int]]:
        """Return the lines of speed until `step`, each with its updates. Later updates have the last speed."""
        blocks, before = [], 0
        for line in self.blocks:
            if before < step:
                blocks.append((line, min(line["step"], step) - before))
            before = line["step"]
        return blocks if before >= step else [*blocks, (self.blocks[-1], step - before)]


def find_starts(blocks: list[Line]) -> set[int]:
    """Return the step of the first line of speed of every process that the run had.

    A process counts its own CPU seconds. So in its first line they fall, or grow by far less than usual. Old runs have
    no CPU seconds.
    """
    spent = {
        line["step"]: (line["cpu_seconds"] - before["cpu_seconds"]) / (line["step"] - before["step"])
        for before, line in pairwise(blocks)
        if "cpu_seconds" in before
    }
    usual = statistics.median(spent.values()) if spent else 0.0
    return {blocks[0]["step"], *(step for step, seconds in spent.items() if seconds < usual / 2)}
