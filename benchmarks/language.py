"""Collect what trainings of one language model with several seeds reached, from what they wrote themselves.

    python benchmarks/language.py gpt_shakespeare_char runs/seed-1 runs/seed-2 runs/seed-3

writes benchmarks/results/gpt_shakespeare_char.json; `python benchmarks/tables.py` makes the tables from it.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, write_result
from benchmarks.quality import read_lines, training_seconds
from common.command import run_command
from common.errors import InputError
from common.settings import flatten_settings, load_saved_settings
from train.config import RunConfig

PLACES = ("data.train", "data.valid", "data.test", "data.cache_dir", "run_dir", "train.seed", "train.threads")


def main() -> None:
    """Read the command line and the runs, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the result")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs that differ in their seed only")
    args = parser.parse_args()
    write_result(args.name, collect(args.runs))


def collect(runs: list[Path]) -> dict[str, Any]:
    """The figures of the runs. Raises ValueError where their settings differ in more than the seed."""
    every = [flatten_settings(load_saved_settings(RunConfig, run / "config.yaml")) for run in runs]
    settings = [{name: value for name, value in one.items() if name not in PLACES} for one in every]
    for run, other in zip(runs[1:], settings[1:], strict=True):
        if other != settings[0]:
            names = sorted(name for name in other if other[name] != settings[0][name])
            raise InputError(f"{run} and {runs[0]} differ in more than the seed: {', '.join(names)}")
    texts = {json.loads((run / "identity.json").read_text())["data"] for run in runs}
    if len(texts) > 1:
        raise InputError(f"{', '.join(map(str, runs))} were trained on different texts")
    defaults = flatten_settings(RunConfig())
    return {
        "machine": describe_machine(),
        "differs_from_base": {name: value for name, value in settings[0].items() if value != defaults[name]},
        "threads": sorted({one["train.threads"] or "all" for one in every}, key=str),
        "updates": settings[0]["train.max_steps"],
        "runs": [about(run, one["train.seed"]) for run, one in zip(runs, every, strict=True)],
        "valid_loss_mean": mean(last_validation(run)["valid_loss"] for run in runs),
    }


def about(run: Path, seed: int) -> dict[str, Any]:
    """The last validation of a run, which is over the whole validation text, and its time."""
    timing = read_lines(run / "timing.jsonl")
    per_update = [line["seconds_per_update"] for line in timing if "seconds_per_update" in line]
    return {
        "seed": seed,
        **{name: value for name, value in last_validation(run).items() if name != "step"},
        "training_seconds": round(training_seconds(timing), 1),
        "seconds_per_update_median": median(per_update),
    }


def last_validation(run: Path) -> dict[str, Any]:
    """The one at the end of the run, not the lowest on the way."""
    return [line for line in read_lines(run / "metrics.jsonl") if "valid_loss" in line][-1]


if __name__ == "__main__":
    run_command(main)
