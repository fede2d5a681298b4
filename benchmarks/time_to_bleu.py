"""Measure how long recipes take to reach a given BLEU, and whether two runs have the same curves.

    python -m benchmarks.time_to_bleu paper=runs/a better=runs/b,runs/c --bleu 20 25 30
    python -m benchmarks.time_to_bleu --compare before=runs/a after=runs/b --compare before=runs/c after=runs/d
    python -m benchmarks.time_to_bleu --smoke-test

Runs may be unfinished. Several runs of one recipe, which may differ only in their seeds, are separated by commas. BLEU
is the one that training reports: greedy translations of `validation.bleu_sentences` validation sentences. A BLEU counts
as reached at the first validation that is not below it, without interpolation.

Time is given twice, from the first update on: of the updates alone, and by the clock, with validations and checkpoints.
Interruptions do not count. Tokens are target tokens without padding. Run this command on the machine that trained the
runs. It writes benchmarks/results/time_to_bleu.json; `python -m benchmarks.pictures` draws docs/time-to-bleu.png.

`--compare` measures the differences between the curves of two runs, update by update, for any number of pairs of runs;
set train.log_every=1 to have every update. It writes benchmarks/results/same_curves.json.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks import launch
from benchmarks.launch import TINY
from benchmarks.pictures import draw_time_to_bleu
from benchmarks.run_logs import PLACES, Clock, differs_from_base, read_lines, read_settings, read_validations
from benchmarks.runner import (
    RESULTS,
    Table,
    Tables,
    command_line,
    new_result,
    save,
    show_spread,
    spread,
    table,
    temporary_folder,
)
from common.command import run_command
from common.errors import InputError
from train.config import MAY_CHANGE

CURVES = {
    "loss": "training loss",
    "gradient_norm": "gradient norm",
    "valid_loss": "validation loss",
    "valid_bleu": "validation BLEU",
}
SMOKE_TEST = (
    *("schedule.warmup_steps=20", "schedule.scale=2", "train.max_steps=40", "validation.every=10"),
    *("validation.bleu_sentences=4", "checkpoints.every=100"),
)


Point = dict[str, float]
"""One validation; the target tokens, without padding, and the time until then: `minutes` of the updates alone, and
`minutes_by_the_clock` with validations, this one included, and checkpoints."""


def main() -> None:
    """Read the runs and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN[,RUN...]", help="run folders of one recipe")
    parser.add_argument("--bleu", nargs="+", type=float, default=[20.0, 25.0, 30.0])
    parser.add_argument(
        "--compare", nargs=2, action="append", metavar="NAME=RUN", help="two runs whose curves to compare; repeatable"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the result (default: benchmarks/results)")
    args = parser.parse_args()
    if args.smoke_test:
        smoke_test()
    elif args.compare:
        result = new_result(pairs=[compare(*read_one(a), *read_one(b)) for a, b in args.compare])
        save("same_curves", result, {"same_curves": [curves_table(result)]}, folder=args.out)
    elif args.runs:
        result = new_result(**collect(dict(map(read_name, args.runs)), args.bleu))
        save("time_to_bleu", result, make_tables(result), folder=args.out)
    else:
        raise InputError("no run given. Write NAME=FOLDER, or --compare NAME=FOLDER NAME=FOLDER.")


def read_name(text: str) -> tuple[str, list[Path]]:
    """Parse `NAME=run1,run2`. Raises InputError, or FileNotFoundError if a folder is not a run folder."""
    name, equals, folders = text.partition("=")
    if not equals or not name or not folders:
        raise InputError(f"{text!r} is not a run. Write NAME=FOLDER, or NAME=FOLDER,FOLDER for several seeds.")
    runs = [Path(folder) for folder in folders.split(",")]
    for run in runs:
        for file in ("config.yaml", "metrics.jsonl", "timing.jsonl"):
            if not (run / file).is_file():
                raise FileNotFoundError(f"{run} is not the folder of a run: it has no {file}")
    return name, runs


def read_one(text: str) -> tuple[str, Path]:
    """Parse `NAME=run`. Raises as `read_name`."""
    name, runs = read_name(text)
    if len(runs) > 1:
        raise InputError("--compare takes two single runs, not several separated by commas")
    return name, runs[0]


def collect(runs: dict[str, list[Path]], figures: list[float]) -> dict[str, Any]:
    """Return curves, differences from the base model, and when each BLEU was reached."""
    result = {}
    for name, folders in runs.items():
        curves = [read_curve(run) for run in folders]
        result[name] = {
            "differs_from_base": recipe_of(name, folders),
            "seeds": [read_settings(run)["train.seed"] for run in folders],
            "reached": {f"{figure:g}": first_points(curves, figure) for figure in figures},
            "curves": curves,
        }
    return {"bleu": figures, "runs": result}


def recipe_of(name: str, runs: list[Path]) -> dict[str, Any]:
    """Return the settings that differ from the paper's base. Raises InputError if the runs have different recipes."""
    first, *others = (read_settings(run) for run in runs)
    for settings, run in zip(others, runs[1:], strict=True):
        other = [
            key for key in first if settings[key] != first[key] and key not in (*PLACES, *MAY_CHANGE, "train.seed")
        ]
        if other:
            raise InputError(f"{runs[0]} and {run} are not two seeds of {name}: they differ in {', '.join(other)}")
    return differs_from_base(first, "train.seed")


def read_curve(run: Path) -> list[Point]:
    """Return every validation of a run with BLEU. Raises InputError if there is none."""
    validations = read_validations(run, "valid_bleu")
    if not validations:
        raise InputError(f"{run} has no validation with BLEU yet: wait for validation.every updates")
    clock = Clock(read_lines(run / "timing.jsonl"))
    return [
        {
            "step": line["step"],
            "tokens": round(clock.tokens(line["step"])),
            "minutes": round(clock.seconds(line["step"]) / 60, 3),
            "minutes_by_the_clock": round(clock.clock_seconds(line["step"]) / 60, 3),
            "valid_loss": line["valid_loss"],
            "valid_bleu": line["valid_bleu"],
        }
        for line in validations
    ]


def first_points(curves: list[list[Point]], figure: float) -> list[Point | None]:
    """Return for every seed the first validation with this BLEU or more; None if there is none yet."""
    return [next((point for point in curve if point["valid_bleu"] >= figure), None) for curve in curves]


def compare(a: str, run_a: Path, b: str, run_b: Path) -> dict[str, Any]:
    """Return the differences between the curves of two runs. Raises InputError if they have no update in common."""
    one, other = read_settings(run_a), read_settings(run_b)
    lines = [read_lines(run / "metrics.jsonl") for run in (run_a, run_b)]
    curves = {}
    for name in CURVES:
        first, second = ({line["step"]: line[name] for line in own if name in line} for own in lines)
        if steps := sorted(first.keys() & second.keys()):
            curves[name] = difference(steps, first, second)
    if not curves:
        raise InputError(f"{run_a} and {run_b} have no logged update in common: set the same train.log_every")
    return {
        "runs": [a, b],
        "precision": one["train.precision"],
        "differs_from_base": differs_from_base(one),
        "differs_between_them": {k: [one[k], other[k]] for k in one if one[k] != other[k] and k not in PLACES},
        "curves": curves,
    }


def difference(steps: list[int], first: dict[int, float], second: dict[int, float]) -> dict[str, Any]:
    """Return the largest difference of two curves, absolute and relative to the first, and the median difference."""
    differences = {step: abs(first[step] - second[step]) for step in steps}
    worst = max(steps, key=lambda step: differences[step])
    return {
        "compared": len(steps),
        "until_update": steps[-1],
        "equal": sum(not difference for difference in differences.values()),
        "largest": differences[worst],
        "at_update": worst,
        "largest_of_the_value": max(differences[step] / abs(first[step]) if differences[step] else 0 for step in steps),
        "median": statistics.median(differences.values()),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the times of each recipe, and its settings. If a seed has not reached a BLEU, the row has no time, since
    the median of the others would be too good."""
    rows: list[list[str]] = []
    for name, run in result["runs"].items():
        for figure, seeds in run["reached"].items():
            points = [point for point in seeds if point is not None]
            count = f"{len(points)} of {len(seeds)}"
            if len(points) < len(seeds):
                rows.append([name, figure, "not reached", "", "", "", count])
                continue
            updates = f"{statistics.median(point['step'] for point in points):,.0f}"
            minutes = [show_seeds([point[key] for point in points]) for key in ("minutes", "minutes_by_the_clock")]
            tokens = f"{statistics.median(point['tokens'] for point in points) / 1e6:.2f}"
            rows.append([name, figure, updates, *minutes, tokens, count])
    headings = ["recipe", "validation BLEU", "updates", "updates alone (min)", "with validations and checkpoints (min)",
                "target tokens (million)", "seeds"]  # fmt: skip
    return {"time_to_bleu": [table(headings, rows), settings_table(result["runs"])]}


def show_seeds(values: list[float]) -> str:
    """Return the median, and minimum and maximum of several seeds."""
    return f"{values[0]:.1f}" if len(values) == 1 else show_spread(spread(values), ".1f")


def settings_table(runs: dict[str, Any]) -> Table:
    """Return the settings that differ from the paper's base, those of all recipes first."""
    changed = {
        name: {f"`{key}={value}`" for key, value in run["differs_from_base"].items()} for name, run in runs.items()
    }
    common = set.intersection(*changed.values()) if len(runs) > 1 else set()
    rows = [["all", ", ".join(sorted(common))]] if common else []
    rows += [[name, ", ".join(sorted(own - common))] for name, own in changed.items()]
    return table(["recipe", "differences from the paper's base"], rows)


def curves_table(result: dict[str, Any]) -> Table:
    """Return the differences between the curves of each pair of runs."""
    headings = ["runs", "precision", "curve", "updates compared", "equal updates", "largest difference",
                "largest relative difference", "update of the largest difference"]  # fmt: skip
    rows = [
        [" and ".join(pair["runs"]), {"no": "fp32"}.get(pair["precision"], pair["precision"]), CURVES[name],
         f"{curve['compared']:,}", f"{curve['equal']:,}", f"{curve['largest']:.2g}",
         f"{curve['largest_of_the_value']:.2g}", f"{curve['at_update']:,}"]
        for pair in result["pairs"]
        for name, curve in pair["curves"].items()
    ]  # fmt: skip
    return table(headings, rows)


def smoke_test() -> None:
    """Train two tiny recipes, one of them with two seeds; read, draw and compare them."""
    with temporary_folder() as folder:
        for name, override in (("a", "train.seed=1"), ("b", "train.seed=2"), ("c", "model.norm=pre")):
            places = [f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / name}"]
            launch.train(name, [*TINY, *SMOKE_TEST, *places, override])
        result = new_result(**collect({"two seeds": [folder / "a", folder / "b"], "other": [folder / "c"]}, [0.01, 99]))
        draw_time_to_bleu(result, folder / "picture.png")
        curves = curves_table({"pairs": [compare("a", folder / "a", "b", folder / "b")]})
        save("time_to_bleu", result, make_tables(result) | {"same_curves": [curves]}, smoke_test=True)


if __name__ == "__main__":
    run_command(main)
