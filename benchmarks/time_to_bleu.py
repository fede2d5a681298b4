"""How long recipes take to a stated BLEU, and whether two runs learned the same.

    python benchmarks/time_to_bleu.py paper=runs/a better=runs/b,runs/c --bleu 20 25 30
    python benchmarks/time_to_bleu.py --compare before=runs/a after=runs/b --compare before=runs/c after=runs/d
    python benchmarks/time_to_bleu.py --quick                 # a rehearsal in seconds; writes nothing

The runs may be unfinished; several of one recipe, which may differ in their seeds only, are joined by commas. BLEU is
what training itself reports: greedy translations of `validation.bleu_sentences` validation sentences. A figure counts
as reached at the first validation that is not below it; nothing is interpolated.

Time is given twice: of the updates alone, and by the clock with validations and checkpoints, from the first update on.
The time that a run was stopped counts in neither. Tokens are those of the target, without padding. The runs must have
been made on the machine that this is started on. Writes benchmarks/results/time_to_bleu.json and, with matplotlib,
which is in `pip install 'paper-transformer[bench]'`, docs/time-to-bleu.png.

`--compare` tells how far the curves of two runs lie apart, update by update, of as many pairs of runs as are named; set
train.log_every=1 to have them of every update. Writes benchmarks/results/same_curves.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from common.settings import flatten_settings, load_saved_settings
from train.config import MAY_CHANGE, RunConfig

ROOT = Path(__file__).resolve().parent.parent
PICTURE = "time-to-bleu.png"
PLACES = ("data.train", "data.valid", "data.test", "data.cache_dir", "data.tokenizer", "train.init_from", "run_dir")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Of Okabe and Ito, which the colour-blind can tell apart; the clearest on white first."""
COMPARED = ("loss", "gradient_norm", "valid_loss", "valid_bleu")
TINY = (
    *("data.train=grammar", "data.grammar_pairs=2000", "data.vocab_size=400", "data.max_length=40"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64"),
    *("batches.tokens_per_update=1600", "batches.buckets=8", "schedule.warmup_steps=20", "train.max_steps=40"),
    *("train.log_every=1", "validation.every=10", "validation.bleu_sentences=4", "train.threads=1"),
    *("train.log_with=none", "checkpoints.every=100", "schedule.scale=2"),
)
"""The rehearsal's recipe."""


@dataclass(frozen=True)
class Point:
    """One validation, and what it took until there."""

    step: int
    tokens: int
    """Of the target, without padding."""
    minutes: float
    """Of the updates alone."""
    minutes_by_the_clock: float
    """Validations, this one too, and checkpoints included."""
    valid_loss: float
    valid_bleu: float


def main() -> None:
    """Read the command line and the runs, write."""
    args = parse_args()
    if args.quick:
        return rehearse()
    if args.compare:
        pairs = []
        for pair in args.compare:
            (a, run_a), (b, run_b) = (read_name(text) for text in pair)
            if len(run_a) > 1 or len(run_b) > 1:
                raise InputError("--compare takes one run on each side, not several joined by commas")
            pairs.append(compare(a, run_a[0], b, run_b[0]))
        return put("same_curves", {"machine": describe_machine(), "pairs": pairs}, args.out)
    if not args.runs:
        raise InputError("there is nothing to read: name a run as NAME=FOLDER, or two with --compare")
    result = {"machine": describe_machine(), **collect(dict(read_name(text) for text in args.runs), args.bleu)}
    put("time_to_bleu", result, args.out)
    draw(result, (args.out or ROOT / "docs") / PICTURE)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN[,RUN...]", help="run folders of one recipe")
    parser.add_argument("--bleu", nargs="+", type=float, default=[20.0, 25.0, 30.0])
    parser.add_argument(
        "--compare", nargs=2, action="append", metavar="NAME=RUN", help="the curves of two runs, update by update"
    )
    parser.add_argument("--out", type=Path, help="folder for the result and the picture, in the place of the usual two")
    parser.add_argument("--quick", action="store_true", help="a rehearsal with tiny runs; writes nothing")
    return parser.parse_args()


def read_name(text: str) -> tuple[str, list[Path]]:
    """`NAME=run1,run2`. Raises ValueError where it is not, and FileNotFoundError for a folder that is no run."""
    name, equals, folders = text.partition("=")
    if not equals or not name or not folders:
        raise InputError(f"{text!r} does not name a run: write NAME=FOLDER, or NAME=FOLDER,FOLDER for several seeds")
    runs = [Path(folder) for folder in folders.split(",")]
    for run in runs:
        for file in ("config.yaml", "metrics.jsonl", "timing.jsonl"):
            if not (run / file).is_file():
                raise FileNotFoundError(f"{run / file} does not exist: {run} is not the folder of a run that has begun")
    return name, runs


def put(name: str, result: dict[str, Any], out: Path | None) -> None:
    """Write the result among the others, or into `out`."""
    if out is None:
        return write_result(name, result)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def collect(recipes: dict[str, list[Path]], figures: list[float]) -> dict[str, Any]:
    """What every run reached, and when."""
    result = {}
    for name, runs in recipes.items():
        curves = [read_curve(run) for run in runs]
        result[name] = {
            "differs_from_base": recipe_of(name, runs),
            "seeds": [settings_of(run)["train.seed"] for run in runs],
            "reached": {f"{figure:g}": reached(curves, figure) for figure in figures},
            "curves": [[asdict(point) for point in curve] for curve in curves],
        }
    return {"bleu": figures, "runs": result}


def recipe_of(name: str, runs: list[Path]) -> dict[str, Any]:
    """Settings that differ from the paper's base. Raises ValueError where the runs are not of one recipe."""
    first, *others = (settings_of(run) for run in runs)
    for settings, run in zip(others, runs[1:], strict=True):
        free = (*PLACES, *MAY_CHANGE, "train.seed")
        other = [key for key in first if settings[key] != first[key] and key not in free]
        if other:
            raise InputError(f"{runs[0]} and {run} are not two seeds of {name}: they differ in {', '.join(other)}")
    base = flatten_settings(RunConfig())
    return {k: v for k, v in first.items() if v != base[k] and k not in (*PLACES, "train.seed")}


def settings_of(run: Path) -> dict[str, Any]:
    """The whole config of a run, flat."""
    return flatten_settings(load_saved_settings(RunConfig, run / "config.yaml"))


def read_curve(run: Path) -> list[Point]:
    """Every validation of a run with BLEU. Raises ValueError where there is none."""
    validations = [line for line in read_lines(run / "metrics.jsonl") if "valid_bleu" in line]
    if not validations:
        raise InputError(f"{run} has no validation with BLEU yet: wait for validation.every updates")
    clock = Clock(read_lines(run / "timing.jsonl"))
    return [
        Point(
            step=line["step"],
            tokens=round(clock.tokens(line["step"])),
            minutes=round(clock.seconds(line["step"]) / 60, 3),
            minutes_by_the_clock=round(clock.by_the_clock(line["step"]) / 60, 3),
            valid_loss=line["valid_loss"],
            valid_bleu=line["valid_bleu"],
        )
        for line in validations
    ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; a run that goes on may be writing the last one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


class Clock:
    """What `timing.jsonl` says of any update. Raises ValueError where it says nothing yet."""

    def __init__(self, timing: list[dict[str, Any]]) -> None:
        self.timing = timing
        self.blocks = [line for line in timing if "seconds_per_update" in line]
        if not self.blocks:
            raise InputError("timing.jsonl has no speed yet: wait for train.log_every updates")
        self.starts = find_starts(self.blocks)

    def seconds(self, step: int) -> float:
        """Until `step`, of the updates alone."""
        return sum(line["seconds_per_update"] * updates for line, updates in self._until(step))

    def tokens(self, step: int) -> float:
        """Of the target until `step`, to the digits that the speed is written with."""
        return sum(
            line["seconds_per_update"] * line["tgt_tokens_per_second"] * updates for line, updates in self._until(step)
        )

    def by_the_clock(self, step: int) -> float:
        """Until the last line of `step`. Where the run was stopped, the updates until the next line of speed alone."""
        total, before = 0.0, {"step": 0, "time": 0.0}
        for line in (line for line in self.timing if line["step"] <= step):
            block = next((own for own in self.blocks if own["step"] >= line["step"]), self.blocks[-1])
            if block["step"] in self.starts and line["step"] > before["step"]:
                total += block["seconds_per_update"] * (line["step"] - before["step"])
            else:
                total += line["time"] - before["time"]
            before = line
        return total

    def _until(self, step: int) -> list[tuple[dict[str, Any], int]]:
        """Lines of speed, and how many updates until `step` went at it. After the last line it goes on as there."""
        parts, before = [], 0
        for line in self.blocks:
            if before < step:
                parts.append((line, min(line["step"], step) - before))
            before = line["step"]
        return parts if before >= step else [*parts, (self.blocks[-1], step - before)]


def find_starts(blocks: list[dict[str, Any]]) -> set[int]:
    """The first line of speed of every process that the run had: a process counts its own seconds of the processor,
    so there they fall, or grow by far less than the updates before it took. Old runs did not write them."""
    spent = {
        line["step"]: (line["cpu_seconds"] - before["cpu_seconds"]) / (line["step"] - before["step"])
        for before, line in pairwise(blocks)
        if "cpu_seconds" in before
    }
    usual = statistics.median(spent.values()) if spent else 0.0
    return {blocks[0]["step"], *(step for step, seconds in spent.items() if seconds < usual / 2)}


def reached(curves: list[list[Point]], figure: float) -> list[dict[str, Any] | None]:
    """Of every seed, the first validation whose BLEU is not below `figure`; None where there is none yet."""
    first = [next((point for point in curve if point.valid_bleu >= figure), None) for curve in curves]
    return [None if point is None else asdict(point) for point in first]


def compare(a: str, run_a: Path, b: str, run_b: Path) -> dict[str, Any]:
    """The largest difference of each curve, absolute and of the first run's value.

    Raises ValueError where no update of both is logged.
    """
    one, other = settings_of(run_a), settings_of(run_b)
    base = flatten_settings(RunConfig())
    result: dict[str, Any] = {
        "runs": [a, b],
        "precision": one["train.precision"],
        "differs_from_base": {k: v for k, v in one.items() if v != base[k] and k not in PLACES},
        "differs_between_them": {k: [one[k], other[k]] for k in one if one[k] != other[k] and k not in PLACES},
        "curves": {},
    }
    lines = [read_lines(run / "metrics.jsonl") for run in (run_a, run_b)]
    for name in COMPARED:
        first, second = ({line["step"]: line[name] for line in own if name in line} for own in lines)
        steps = sorted(first.keys() & second.keys())
        if steps:
            result["curves"][name] = apart(steps, first, second)
    if not result["curves"]:
        raise InputError(f"no update is logged by both {run_a} and {run_b}: give them the same train.log_every")
    return result


def apart(steps: list[int], first: dict[int, float], second: dict[int, float]) -> dict[str, Any]:
    """How far two curves lie apart."""
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


def draw(result: dict[str, Any], path: Path) -> None:
    """Validation loss and BLEU over minutes of updates and over updates; a line for each seed."""
    try:
        import matplotlib
    except ImportError:  # the figures are written, and they are what counts
        return print("there is no picture, for matplotlib is not installed: pip install matplotlib", file=sys.stderr)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    # 1,600 pixels wide: shown at 800, the letters are still 12 pixels high.
    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex="col", sharey="row", layout="constrained")
    names = {"valid_loss": "validation loss (nats a token)", "valid_bleu": "validation BLEU (greedy)"}
    for row, (measure, label) in zip(axes, names.items(), strict=True):
        for axis, along in zip(row, ("minutes", "step"), strict=True):
            for number, (name, run) in enumerate(result["runs"].items()):
                style = {"color": COLOURS[number % len(COLOURS)], "marker": "os^Dv<>"[number % 7], "markersize": 4}
                for seed, curve in enumerate(run["curves"]):
                    xs, ys = ([point[key] for point in curve] for key in (along, measure))
                    axis.plot(xs, ys, label=name if seed == 0 else None, linewidth=1.5, **style)
            axis.grid(alpha=0.3)
        row[0].set_ylabel(label)
    for axis in axes[1]:
        for stated in result["bleu"]:
            axis.axhline(stated, color="black", linewidth=0.8, linestyle=":")
    for axis in axes[1]:
        axis.set_xlim(left=0)
    axes[1][0].set_xlabel("training (minutes, validations not counted)")
    axes[1][1].set_xlabel("training (updates)")
    axes[0][1].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160, metadata={"Software": None})
    pyplot.close(figure)


def rehearse() -> None:
    """Two tiny recipes, one of them twice, read, drawn and compared."""
    with tempfile.TemporaryDirectory(prefix="time-to-bleu-") as temporary:
        folder = Path(temporary)
        for name, override in (("a", "train.seed=1"), ("b", "train.seed=2"), ("c", "model.norm=pre")):
            places = [f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / name}"]
            command = [sys.executable, "train/train.py", *TINY, *places, override]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        result = collect({"two seeds": [folder / "a", folder / "b"], "other": [folder / "c"]}, [0.01, 0.5, 99.0])
        draw(result, folder / PICTURE)
        same = compare("a", folder / "a", "b", folder / "b")
    print(json.dumps({"time_to_bleu": result, "same_curves": {"pairs": [same]}}, indent=2))


if __name__ == "__main__":
    run_command(main)
