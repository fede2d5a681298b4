"""Collect what a finished run reached, from what it wrote itself.

    python benchmarks/quality.py runs/multi30k multi30k

reads metrics.jsonl, timing.jsonl and eval/*.json of the run and writes benchmarks/results/multi30k.json.
`python benchmarks/tables.py` makes the tables of the documentation from it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.settings import flatten_settings, load_saved_settings
from train.config import RunConfig


def main() -> None:
    """Read the command line and the run, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run that evaluate/bleu.py has reported on")
    parser.add_argument("name", help="of the result")
    args = parser.parse_args()
    write_result(args.name, collect(args.run))


def collect(run: Path) -> dict[str, Any]:
    """The figures of a run. Raises FileNotFoundError where it has not been evaluated."""
    reports = sorted((run / "eval").glob("*.json"))
    if not reports:
        raise FileNotFoundError(f"{run / 'eval'} holds no report; run python evaluate/bleu.py --model {run} first")
    settings, defaults = (
        flatten_settings(load_saved_settings(RunConfig, run / "config.yaml")),
        flatten_settings(RunConfig()),
    )
    places = ("data.train", "data.valid", "data.test", "data.cache_dir", "run_dir")
    timing = read_lines(run / "timing.jsonl")
    return {
        "machine": describe_machine(),
        "differs_from_base": {k: v for k, v in settings.items() if v != defaults[k] and k not in places},
        "updates": settings["train.max_steps"],
        "training_minutes": round(training_seconds(timing) / 60, 1),
        "validations": [line for line in read_lines(run / "metrics.jsonl") if "valid_loss" in line],
        "reports": [about(path) for path in reports],
    }


def training_seconds(timing: list[dict[str, Any]]) -> float:
    """Time of the updates alone, without validation, checkpoints and the time that the run was stopped."""
    total, before = 0.0, 0
    for line in timing:
        if "seconds_per_update" in line:
            total += line["seconds_per_update"] * (line["step"] - before)
            before = line["step"]
    return total


def about(path: Path) -> dict[str, Any]:
    """A report without the names of this machine's files and without sentences of the test set."""
    report = json.loads(path.read_text(encoding="utf-8"))
    hidden = ("model", "test_set", "worst", "comparison")
    return {"corpus": path.stem, **{k: v for k, v in report.items() if k not in hidden}}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    run_command(main)
