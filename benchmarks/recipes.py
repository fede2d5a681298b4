"""Compare changes of the training recipe on Multi30k: an ablation, judged on the validation set.

    python -m benchmarks.recipes --data train.en train.de valid.en valid.de --at-once 2
    python -m benchmarks.recipes --data ... --promote "pre, wsd 2e-3" --seeds 1 2
    python -m benchmarks.recipes --smoke-test

Every recipe is `configs/multi30k.yaml` for 700 updates with the changes in `RECIPES`, trained with the first of
`--seeds`; those of `--promote` also with the other seeds. `--runs` keeps all runs by name, updates and seed: a finished
run is read, not trained again; an interrupted one starts again from the beginning. With --at-once 2, two runs train in
parallel with one thread each, which uses a small machine best; then compare their minutes only with one another. BLEU
is sacreBLEU of greedy translations of the whole validation set. Writes benchmarks/results/recipes.json.

R-Drop is not in the trainer, and neither are means of the weights beside the weights; benchmarks/experiments.py has
both. Recipes for a small model, with several seeds and a paired test, are in benchmarks/tiny_recipes.py.
"""

import json
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments import MEANS
from benchmarks.launch import TINY, environment, training_command
from benchmarks.run_logs import Clock, read_lines, read_validations
from benchmarks.runner import ROOT, Tables, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.errors import InputError

UPDATES = 700


@dataclass(frozen=True)
class Recipe:
    """Differences from configs/multi30k.yaml."""

    overrides: tuple[str, ...] = ()
    change: str = ""
    """Change of benchmarks/experiments.py that the trainer does not offer."""
    updates: float = 1.0
    """Factor on `UPDATES`. R-Drop computes every batch twice, so it has half as many."""


def decaying(schedule: str, peak: str) -> tuple[str, ...]:
    """Return a schedule from `peak` to a hundredth of it."""
    return f"schedule.name={schedule}", f"schedule.peak_lr={peak}", f"schedule.lowest_lr={float(peak) / 100:g}"


PRE = "model.norm=pre"
SMALL = ("batches.tokens_per_update=1250", "batches.per_update=2")
RECIPES = {
    "paper": Recipe(change="means"),
    "post, cosine 2e-3": Recipe(decaying("cosine", "2e-3")),
    "pre, cosine 2e-3": Recipe((*decaying("cosine", "2e-3"), PRE)),
    "pre, cosine 4e-3": Recipe((*decaying("cosine", "4e-3"), PRE)),
    "pre, wsd 2e-3": Recipe((*decaying("wsd", "2e-3"), PRE)),
    "pre, cosine 2e-3, R-Drop, half the updates": Recipe((*decaying("cosine", "2e-3"), PRE), "r-drop", 0.5),
    "pre, cosine 1.4e-3, twice as many updates of half the size": Recipe(
        (*decaying("cosine", "1.4e-3"), PRE, *SMALL), updates=2
    ),
}


def main() -> None:
    """Train and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=4, metavar="FILE", help="training source, target; validation source, target")
    parser.add_argument(
        "--promote", nargs="+", metavar="NAME", default=[], choices=RECIPES, help="recipes to train with every seed"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--at-once", type=int, default=1, help="number of runs in parallel, with one thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="folder of the runs")
    args = parser.parse_args()
    if args.smoke_test:
        jobs = [("paper", 1), ("pre, cosine 2e-3, R-Drop, half the updates", 1)]
        with temporary_folder() as runs:
            result = new_result(recipes=ablate(jobs, 20, 1, runs, TINY))
    elif args.data:
        files = [f"data.train=[{','.join(args.data[:2])}]", f"data.valid=[{','.join(args.data[2:])}]", "data.test=null"]
        jobs = [(name, args.seeds[0]) for name in RECIPES]
        jobs += [(name, seed) for seed in args.seeds[1:] for name in args.promote]
        recipes = ablate(jobs, UPDATES, args.at_once, args.runs, ["--config", "configs/multi30k.yaml", *files])
        result = new_result(updates=UPDATES, at_once=args.at_once, recipes=recipes)
    else:
        parser.error("--data is missing: give Multi30k's train.en, train.de, val.en and val.de")
    save("recipes", result, make_tables(result), smoke_test=args.smoke_test)


def ablate(
    jobs: Sequence[tuple[str, int]], updates: int, at_once: int, runs: Path, data: Sequence[str]
) -> dict[str, Any]:
    """Train every (recipe, seed), in this order."""

    def one(name: str, seed: int) -> tuple[str, dict[str, Any]]:
        recipe, folder = RECIPES[name], runs / f"{name.replace(', ', '_').replace(' ', '-')}-{updates}-{seed}"
        own = settings(recipe, seed, updates, at_once)
        train(recipe, folder, [*data, *own, f"data.cache_dir={runs / 'cache'}"])
        return name, {"seed": seed, **read(folder)}

    result: dict[str, Any] = {}
    with ThreadPoolExecutor(at_once) as pool:
        for name, row in pool.map(lambda job: one(*job), jobs):
            about = {"changes": RECIPES[name].overrides, "experiment": RECIPES[name].change, "runs": []}
            result.setdefault(name, about)["runs"].append(row)
            print(json.dumps({name: row}), flush=True)
    return result


def settings(recipe: Recipe, seed: int, updates: int, at_once: int) -> list[str]:
    """Return the settings of a run."""
    steps = round(updates * recipe.updates)
    short = [] if not recipe.overrides else [f"schedule.warmup_steps={max(1, steps * 2 // 7)}"]
    threads = [] if at_once == 1 else ["train.threads=1"]
    ends = [f"train.max_steps={steps}", f"validation.every={max(1, steps // 2)}", f"checkpoints.every={steps}"]
    once = ["validation.bleu_sentences=1000000", "checkpoints.average_last=1", "checkpoints.keep=1"]
    return [*ends, *once, "train.log_with=none", f"train.seed={seed}", *short, *threads, *recipe.overrides]


def train(recipe: Recipe, folder: Path, overrides: Sequence[str]) -> None:
    """Train in a process of its own, unless the run is finished. Raises InputError if training fails."""
    if (folder / "model.safetensors").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = training_command([*overrides, f"run_dir={folder.resolve()}"], change=recipe.change)
    with (folder / "log").open("a") as log:
        done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise InputError(f"training failed with status {done.returncode}; its output is in {folder / 'log'}")


def read(folder: Path) -> dict[str, Any]:
    """Return the last validation with BLEU, and the minutes of the updates."""
    last = read_validations(folder, "valid_bleu")[-1]
    minutes = Clock(read_lines(folder / "timing.jsonl")).seconds(last["step"]) / 60
    known = {f"{mean} {measure}".strip() for mean in ("", *MEANS) for measure in ("valid_loss", "valid_bleu")}
    measures = {name: round(value, 4) for name, value in last.items() if name in known}
    return {"updates": last["step"], "minutes": round(minutes, 2), **measures}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per recipe, and per mean of its weights."""
    first = next(iter(result["recipes"].values()))["runs"]
    rows = []
    for name, recipe in result["recipes"].items():
        runs = recipe["runs"]
        time = statistics.median(run["minutes"] for run in runs) / statistics.median(run["minutes"] for run in first)
        for key in (key for key in runs[0] if key.endswith("valid_loss")):
            mean = key.removesuffix("valid_loss").strip()
            loss = statistics.mean(run[key] for run in runs)
            scores = [run[f"{mean} valid_bleu".strip()] for run in runs]
            several = f" ({min(scores):.1f} to {max(scores):.1f})" if len(runs) > 1 else ""
            bleu = f"{statistics.mean(scores):.1f}{several}"
            label = f"{name}; {mean}" if mean else name
            rows.append(
                [label, f"{runs[0]['updates']:,}", len(runs), f"{loss:.3f}", bleu, "" if mean else f"{time:.2f}"]
            )
    headings = ["recipe", "updates", "seeds", "validation loss", "validation BLEU", "time (first row = 1)"]
    return {"recipes": [table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
