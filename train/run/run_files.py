"""What the report of a run shows, read from the files of its run folder. The folder may be from somebody else."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.files import read_json
from common.settings import load_saved_settings
from train.config import RunConfig
from train.run.metrics_log import read_log, read_samples
from train.run.paper_comparison import read_comparison

DATA_FILE = "data_report.json"
"""What was read, dropped and kept when the data were prepared: the report of `PreparedData`."""
Log = list[dict[str, float]]


@dataclass(frozen=True)
class RunFiles:
    """What the report shows, read from a run folder."""

    folder: Path
    config: RunConfig
    metrics: Log
    timing: Log
    samples: list[dict[str, Any]]
    """Lines of `samples.jsonl`, see `train/run/samples.py`."""
    data: Mapping[str, Any]
    """Report of the prepared data; {} in runs of earlier versions."""
    comparison: str
    """Comparison with the paper as Markdown; "" if there is none."""
    has_model: bool
    """True if the model folder is complete."""

    @property
    def step(self) -> int:
        """Number of updates done, as far as it was logged."""
        return int(max((line["step"] for line in self.metrics), default=0))

    @property
    def validations(self) -> Log:
        """Metrics of the validations."""
        return [line for line in self.metrics if "valid_loss" in line]

    @property
    def blocks(self) -> list[tuple[int, dict[str, float]]]:
        """Number of updates and line of each block of updates whose speed was measured."""
        lines = [line for line in self.timing if "seconds_per_update" in line]
        steps = [0, *(int(line["step"]) for line in lines)]
        return [(end - start, line) for (start, end), line in zip(pairwise(steps), lines, strict=True)]

    @property
    def seconds(self) -> float:
        """Seconds of all updates, without validation, checkpoints and interruptions."""
        return sum(updates * line["seconds_per_update"] for updates, line in self.blocks)


def read_run(run_dir: Path) -> RunFiles:
    """Read the files of a run folder. Only `config.yaml` must be there.

    Raises InputError or OSError if a file cannot be read.
    """
    data = read_json(run_dir / DATA_FILE) if (run_dir / DATA_FILE).is_file() else {}
    return RunFiles(
        run_dir,
        load_saved_settings(RunConfig, run_dir / "config.yaml"),
        read_log(run_dir / "metrics.jsonl"),
        read_log(run_dir / "timing.jsonl"),
        read_samples(run_dir),
        data if isinstance(data, dict) else {},
        read_comparison(run_dir),
        (run_dir / "model.safetensors").is_file(),
    )
