"""Compare recipes for a model of at most 2.6 million parameters on Multi30k, with several seeds and a paired test.

    python -m benchmarks.tiny_recipes --data train.en train.de val.en val.de --seeds 1 2 3
    python -m benchmarks.tiny_recipes --data ... --only "Muon 4e-3" "BPE-dropout 0.1" --seeds 1 --at-once 2
    python -m benchmarks.tiny_recipes --smoke-test

Every recipe is `BASE` with the changes in `RECIPES`. The base is always trained, first; --only selects others. --runs
keeps all runs by name, updates and seed: a finished run is read, not trained again, and an interrupted one continues
from its last checkpoint. The result is written after every run, with all finished runs of the selected recipes.
With --at-once 2, two runs train in parallel with one thread each; compare their minutes only with one another. On a
machine with a GPU, all runs use it.

BLEU is sacreBLEU of translations of the whole validation set with the model folder's settings; `p` compares all seeds
of a recipe with all seeds of the base (evaluate/metrics/paired_seeds.py). Updates to a BLEU are those of
the first validation during training that is not below --target, by greedy search with the weights of that update.
Writes benchmarks/results/tiny_recipes.json.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.launch import environment, training_command
from benchmarks.run_folders import write_corpus
from benchmarks.run_logs import Clock, read_lines, read_validations
from benchmarks.runner import ROOT, Tables, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from common.text_input import read_all_lines
from evaluate.metrics.paired_seeds import Statistics, p_value, sentence_statistics
from transformer.model import count_parameters
from transformer.pretrained import load_pretrained

BASE = (
    *("data.vocab_size=8000", "model.d_model=128", "model.n_layers=4", "model.n_heads=4", "model.d_ff=256"),
    *("model.dropout=0.3", "model.norm=pre", "batches.tokens_per_update=4000", "batches.buckets=96"),
    *("schedule.name=wsd", "schedule.peak_lr=4e-3", "schedule.lowest_lr=4e-5", "train.precision=bf16"),
    *("checkpoints.keep=10", "checkpoints.average_last=10", "decode.beam=5", "decode.alpha=1.0"),
    *("validation.bleu_sentences=1000000", "train.log_with=none", "data.test=null"),
)
RECIPES: dict[str, tuple[str, ...]] = {
    "base": (),
    "Adam 2e-3": ("schedule.peak_lr=2e-3",),
    "Adam 8e-3": ("schedule.peak_lr=8e-3",),
    "Muon 2e-3": ("optimizer.name=muon", "schedule.peak_lr=2e-3"),
    "Muon 4e-3": ("optimizer.name=muon",),
    "Muon 8e-3": ("optimizer.name=muon", "schedule.peak_lr=8e-3"),
    "attention dropout 0.1": ("model.attention_dropout=0.1",),
    "activation dropout 0.1": ("model.activation_dropout=0.1",),
    "dropout 0.2": ("model.dropout=0.2",),
    "label smoothing 0.2": ("train.label_smoothing=0.2",),
    "8+8 layers, d_model 96": ("model.n_layers=8", "model.d_model=96", "model.d_ff=192"),
    "exponential mean 0.998": ("train.ema_decay=0.998", "checkpoints.average_last=1"),
    "decay over last 15%": ("schedule.decay_share=0.15",),
    "BPE-dropout 0.1": ("data.bpe_dropout=0.1",),
    "BPE-dropout 0.1, attention and activation dropout 0.1": (
        *("data.bpe_dropout=0.1", "model.attention_dropout=0.1", "model.activation_dropout=0.1"),
    ),
    "BPE-dropout 0.1, Muon 4e-3": ("data.bpe_dropout=0.1", "optimizer.name=muon"),
}
"""Differences of each recipe from `BASE`."""
SMOKE_TEST = (
    *("model.d_model=32", "model.n_layers=1", "model.d_ff=64", "data.vocab_size=400", "data.max_length=64"),
    *("batches.tokens_per_update=1024", "batches.per_update=2", "batches.buckets=8", "decode.max_extra=3"),
    *("validation.every=8", "validation.bleu_sentences=4", "checkpoints.every=4"),
    *("train.threads=1", "train.log_every=1", "train.precision=no"),
)


def main() -> None:
    """Train and evaluate the recipes and save the result after each run."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=4, metavar="FILE", help="training source, target; validation source, target")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(RECIPES), choices=RECIPES, help="recipes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--updates", type=int, default=4000, help="updates of a run (default: 4000)")
    parser.add_argument("--target", type=float, default=36.0, help="BLEU whose updates are reported")
    parser.add_argument("--at-once", type=int, default=1, help="number of runs in parallel, with one thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs/tiny_recipes"), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=Path(".cache/data"), help="data.cache_dir")
    args = parser.parse_args()
    if args.smoke_test:
        smoke_test()
    elif args.data:
        jobs = list(product(args.seeds, dict.fromkeys(["base", *args.only])))
        for recipes in compare(jobs, args.updates, args.target, args.at_once, args.runs, args.cache, args.data):
            result = new_result(base=BASE, target=args.target, at_once=args.at_once, recipes=recipes)
            save("tiny_recipes", result, make_tables(result))
    else:
        parser.error("--data is missing: give Multi30k's train.en, train.de, val.en and val.de")


def smoke_test() -> None:
    """Train two recipes for a few updates and print the result."""
    with temporary_folder() as folder:
        write_corpus(folder)
        data = [str(folder / name) for name in ("train.en", "train.de", "valid.en", "valid.de")]
        jobs = [(1, "base"), (1, "Muon 4e-3")]
        *_, recipes = compare(jobs, 8, 0.0, 1, folder / "runs", folder / "cache", data, SMOKE_TEST)
        result = new_result(base=BASE, target=0.0, at_once=1, recipes=recipes)
        save("tiny_recipes", result, make_tables(result), smoke_test=True)


def compare(
    jobs: Sequence[tuple[int, str]],
    updates: int,
    target: float,
    at_once: int,
    runs: Path,
    cache: Path,
    data: Sequence[str],
    last: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Train every (seed, recipe). Yield the results of all finished runs by recipe, after each run.

    `last` are settings of all runs, which replace those of the recipe.
    """
    references = read_all_lines(Path(data[3]))
    rows: dict[str, dict[str, Any]] = {}
    translations: dict[str, list[Statistics]] = {}

    def one(seed: int, name: str) -> tuple[str, Path]:
        folder = runs / f"{name.replace(',', '').replace(' ', '-')}-{updates}-{seed}"
        own = settings(name, seed, updates, at_once, data)
        train(folder, [*own, f"data.cache_dir={cache.resolve()}", *last])
        evaluate(folder, data)
        return name, folder

    with ThreadPoolExecutor(at_once) as pool:
        for name, folder in pool.map(lambda job: one(*job), jobs):
            row = rows.setdefault(name, {"changes": RECIPES[name], "p": None, "runs": []})
            row["runs"].append(read(folder, target))
            say(json.dumps({name: row["runs"][-1]}))
            lines = read_all_lines(folder / "eval/translation.hyp")
            translations.setdefault(name, []).append(sentence_statistics(lines, references))
            for other in rows.keys() - {"base"}:
                rows[other]["p"] = round(p_value(translations[other], translations["base"]), 4)
            yield rows


def settings(name: str, seed: int, updates: int, at_once: int, data: Sequence[str]) -> list[str]:
    """Return the settings of a run. Checkpoints and validations divide every length of training alike."""
    files = [f"data.train=[{data[0]},{data[1]}]", f"data.valid=[{data[2]},{data[3]}]"]
    ends = [f"train.max_steps={updates}", f"schedule.warmup_steps={max(1, updates // 5)}", f"train.seed={seed}"]
    every = [f"checkpoints.every={max(1, updates // 40)}", f"validation.every={max(1, updates // 8)}"]
    threads = [] if at_once == 1 else ["train.threads=1"]
    return [*files, *BASE, *ends, *every, *threads, *RECIPES[name]]


def train(folder: Path, overrides: Sequence[str]) -> None:
    """Train or resume a run in another process, unless it is finished. Raises InputError if training fails."""
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        start(training_command([*overrides, f"run_dir={folder.resolve()}"]), folder)


def evaluate(folder: Path, data: Sequence[str]) -> None:
    """Translate the validation set, unless that is done."""
    if not (folder / "eval/figures.json").exists():
        (folder / "eval").mkdir(exist_ok=True)
        command = [sys.executable, "evaluate/bleu.py", "--model", str(folder.resolve()), "--json"]
        temporary = folder / "eval/unfinished"
        start(
            [*command, str(temporary.resolve()), "--source", data[2], "--reference", data[3]],
            folder.with_suffix(".log"),
        )
        (translation,) = (folder / "eval").glob("*.hyp")
        translation.rename(folder / "eval/translation.hyp")
        temporary.rename(folder / "eval/figures.json")


def start(command: Sequence[str], folder: Path) -> None:
    """Run a command with its output in `<folder>.log`. Raises InputError if the command fails."""
    log = folder.parent / f"{folder.name}.log"
    with log.open("a") as file:
        own = None if torch.cuda.is_available() else environment()
        done = subprocess.run(command, cwd=ROOT, env=own, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise InputError(f"a command failed with status {done.returncode}; its output is in {log}")


def read(folder: Path, target: float) -> dict[str, Any]:
    """Return the figures of a finished run."""
    report = json.loads((folder / "eval/figures.json").read_text())
    validations, clock = read_validations(folder, "valid_bleu"), Clock(read_lines(folder / "timing.jsonl"))
    reached = next((line["step"] for line in validations if line["valid_bleu"] >= target), None)
    return {
        "seed": int(folder.name.rsplit("-", 1)[1]),
        "parameters": count_parameters(load_pretrained(folder)[0]),
        "updates": validations[-1]["step"],
        "minutes": round(clock.training_seconds() / 60, 2),
        "valid_loss": round(validations[-1]["valid_loss"], 4),
        "updates_to_target": reached,
        **{key: report[key] for key in ("bleu", "signature", "bleu_lowercase", "signature_lowercase")},
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per recipe, and one per kind of BLEU with its signature."""
    headings = ["recipe", "parameters", "updates", "minutes (fastest seed)", "seeds", "validation loss", "BLEU"]
    columns = ["recipe", "settings (base: from the paper's base model; others: from base)"]
    headings += ["lower-cased BLEU", "BLEU minus base", "p", f"updates to {result['target']:g}"]
    base = statistics.mean(run["bleu"] for run in result["recipes"]["base"]["runs"])
    rows = []
    for name, recipe in result["recipes"].items():
        runs = recipe["runs"]
        bleu = [run["bleu"] for run in runs]
        rows.append(
            [
                name,
                f"{runs[0]['parameters']:,}",
                f"{runs[0]['updates']:,}",
                f"{min(run['minutes'] for run in runs):.1f}",
                ", ".join(str(run["seed"]) for run in runs),
                f"{statistics.mean(run['valid_loss'] for run in runs):.3f}",
                show(bleu),
                show([run["bleu_lowercase"] for run in runs]),
                "" if name == "base" else f"{statistics.mean(bleu) - base:+.2f}",
                "" if recipe["p"] is None else f"{recipe['p']:.3f}",
                show_reached([run["updates_to_target"] for run in runs]),
            ]
        )
    first = result["recipes"]["base"]["runs"][0]
    note = f"BLEU: `{first['signature']}`; lower-cased: `{first['signature_lowercase']}`."
    changes = [[f"`{change}`" for change in recipe["changes"]] for recipe in result["recipes"].values()]
    differences = [[name, ", ".join(own)] for name, own in zip(result["recipes"], changes, strict=True)]
    differences[0][1] = ", ".join(f"`{setting}`" for setting in result["base"])
    return {
        "tiny_recipes": [table(headings, rows, note)],
        "tiny_recipes_settings": [table(columns, differences)],
    }


def show(scores: Sequence[float]) -> str:
    """Return the mean, with the lowest and the highest of several."""
    several = f" ({min(scores):.1f} to {max(scores):.1f})" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.1f}{several}"


def show_reached(updates: Sequence[int | None]) -> str:
    """Return the median of what the runs needed; "" if one of them never reached the BLEU."""
    reached = [value for value in updates if value is not None]
    return f"{statistics.median(reached):,.0f}" if len(reached) == len(updates) else ""


if __name__ == "__main__":
    run_command(main)
