"""Collect the results of language-model runs that differ only in their seed, from the files that they wrote.

    python -m benchmarks.language gpt_shakespeare_char runs/seed-1 runs/seed-2 runs/seed-3

writes benchmarks/results/gpt_shakespeare_char.json.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.run_logs import PLACES, Clock, differs_from_base, read_lines, read_settings, read_validations
from benchmarks.runner import Table, about_machine, command_line, new_result, save, table
from common.command import run_command
from common.errors import InputError

NOT_COMPARED = (*PLACES, "train.seed", "train.threads")


def main() -> None:
    """Read the runs and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("name", help="name of the result")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs that differ only in their seed")
    args = parser.parse_args()
    result = new_result(**collect(args.runs))
    save(args.name, result, {"language": [make_table(result, args.name)]}, smoke_test=args.smoke_test)


def collect(runs: list[Path]) -> dict[str, Any]:
    """Return the figures of the runs. Raises InputError if they differ in more than the seed."""
    every = [read_settings(run) for run in runs]
    settings = [{name: value for name, value in one.items() if name not in NOT_COMPARED} for one in every]
    for run, other in zip(runs[1:], settings[1:], strict=True):
        if other != settings[0]:
            names = sorted(name for name in other if other[name] != settings[0][name])
            raise InputError(f"{run} and {runs[0]} differ in more than the seed: {', '.join(names)}")
    for run in runs:
        if not read_validations(run, "valid_bits_per_character"):
            raise InputError(f"{run} is not the finished run of a language model")
    if len({json.loads((run / "identity.json").read_text())["data"] for run in runs}) > 1:
        raise InputError(f"{', '.join(map(str, runs))} were trained on different texts")
    return {
        "differs_from_base": differs_from_base(every[0], *NOT_COMPARED),
        "threads": sorted({one["train.threads"] or "all" for one in every}, key=str),
        "updates": settings[0]["train.max_steps"],
        "runs": [figures(run, one["train.seed"]) for run, one in zip(runs, every, strict=True)],
        "valid_loss_mean": mean(read_validations(run)[-1]["valid_loss"] for run in runs),
    }


def figures(run: Path, seed: int) -> dict[str, Any]:
    """Return the last validation of a run, on the whole validation text, and its times."""
    clock = Clock(read_lines(run / "timing.jsonl"))
    return {
        "seed": seed,
        **{name: value for name, value in read_validations(run)[-1].items() if name != "step"},
        "training_seconds": round(clock.training_seconds(), 1),
        "seconds_per_update_median": median(line["seconds_per_update"] for line in clock.blocks),
    }


def make_table(result: dict[str, Any], name: str) -> Table:
    """Return one row per seed, and the mean."""
    times = [f"{result['updates']:,} updates, {run['training_seconds']:.0f} s" for run in result["runs"]]
    runs = [(run["seed"], run["valid_loss"], run["valid_bits_per_character"]) for run in result["runs"]]
    return seed_table(name, runs, times, about_machine(result))


def seed_table(name: str, runs: Sequence[tuple[int, float, float]], training: Sequence[str], machine: str) -> Table:
    """Return a table of (seed, loss, bits per character)."""
    headings = ["run", "seed", "validation loss", "perplexity", "bits per character", "training", "machine"]
    rows: list[list[Any]] = [
        [name, seed, f"{loss:.4f}", f"{math.exp(loss):.3f}", f"{bits:.3f}", text, machine]
        for (seed, loss, bits), text in zip(runs, training, strict=True)
    ]
    return table(headings, [*rows, [name, "mean", f"**{mean(loss for _, loss, _ in runs):.4f}**", "", "", "", ""]])


if __name__ == "__main__":
    run_command(main)
