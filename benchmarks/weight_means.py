"""Compare ways to average weights, with several seeds: checkpoints (section 6.1), an exponential mean, model soups.

    python -m benchmarks.weight_means --data train.en train.de val.en val.de
    python -m benchmarks.weight_means --data ... --unrelated runs/a runs/b runs/c
    python -m benchmarks.weight_means --smoke-test

Finetunes the included model on the first pairs of a corpus, once per seed (a finished run is read, not trained again),
and translates the validation set with each mean. The soups average the models of all seeds: they started from the same
weights. `--unrelated` names models that were trained from different first weights, whose mean is measured, too.
p compares all models of a row with those of the first row (evaluate/metrics/paired_seeds.py). Writes
benchmarks/results/weight_means.json.
"""

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU
from torch import Tensor

from benchmarks.launch import environment
from benchmarks.own_text import take_lines, write_grammar
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from common.files import expand
from common.text_input import read_all_lines
from common.versions import package_version
from evaluate.metrics.paired_seeds import p_value, sentence_statistics
from evaluate.translator import Translator
from train.run.checkpoints import Checkpoints, load_mean
from transformer.pretrained import save_mean
from transformer.weights import load_tensors, mean_weights, save_tensors

NAME = "weight_means"
DECAY = 0.98
"""Decay of the exponential mean: the last 50 updates have most of the weight."""
CHECKPOINTS = 10
"""Checkpoints that are averaged; they are from the last third of the updates."""
LAST = "last checkpoint"
MEAN = f"mean of the last {CHECKPOINTS} checkpoints"
PER_RUN = (LAST, f"mean of the last {CHECKPOINTS // 2} checkpoints", MEAN, f"exponential mean, decay {DECAY}")
"""Rows with a model for each seed."""
Translations = dict[str, list[list[str]]]
"""Translations of the validation set by each model of each row."""


def main() -> None:
    """Finetune, translate and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", default="en-de", help="included model (default: en-de)")
    parser.add_argument(
        "--data", nargs=4, type=expand, metavar="FILE", help="training source, target; validation source, target"
    )
    parser.add_argument("--pairs", type=int, default=5000, help="number of training pairs (default: 5000)")
    parser.add_argument("--updates", type=int, default=300, help="updates of a run (default: 300)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--unrelated", nargs="*", type=expand, default=[], metavar="MODEL", help="models, or none")
    parser.add_argument("--runs", type=expand, default=Path("runs/weight_means"), help="folder of the runs")
    args = parser.parse_args()
    if args.smoke_test:
        with temporary_folder() as folder:
            data = [*write_grammar(folder), *write_grammar(folder)]
            short = ["decode.beam=1", "validation.bleu_sentences=0"]
            result = measure(args.model, 60, data, CHECKPOINTS, [1, 2], [], folder / "runs", short)
    elif args.data:
        result = measure(args.model, args.pairs, args.data, args.updates, args.seeds, args.unrelated, args.runs, [])
    else:
        parser.error("--data is missing: give training source and target, validation source and target")
    save(NAME, result, make_tables(result), smoke_test=args.smoke_test)


def measure(
    model: str,
    pairs: int,
    data: Sequence[Path],
    updates: int,
    seeds: Sequence[int],
    unrelated: Sequence[Path],
    runs: Path,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Return the figures of each way to average."""
    runs.mkdir(parents=True, exist_ok=True)
    parts = [take_lines(file, pairs, runs / f"train.{i}.txt") for i, file in enumerate(data[:2])]
    folders = [runs / f"{model}-{pairs}-{updates}-{seed}" for seed in seeds]
    for folder, seed in zip(folders, seeds, strict=True):
        finetune(model, [*map(str, parts)], folder, updates, seed, [*settings, f"data.cache_dir={runs / 'cache'}"])
    sources, references = (read_all_lines(file) for file in data[2:])
    rows = {name: read(name, texts, references) for name, texts in translate(folders, unrelated, sources).items()}
    for name in rows.keys() - {LAST}:
        rows[name]["p"] = round(p_value(rows[name]["statistics"], rows[LAST]["statistics"]), 4)
    for row in rows.values():
        del row["statistics"]
    signature = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{package_version('sacrebleu')}"
    every = spacing(updates)
    return new_result(pairs=pairs, updates=updates, seeds=seeds, every=every, rows=rows, signature=signature)


def spacing(updates: int) -> int:
    """Return the number of updates between two checkpoints."""
    return max(1, updates // (3 * CHECKPOINTS))


def finetune(model: str, parts: Sequence[str], folder: Path, updates: int, seed: int, settings: Sequence[str]) -> None:
    """Finetune with one seed in another process, unless that is done. Raises InputError if it fails."""
    if (folder / "model.safetensors").is_file():
        return
    own = [f"run_dir={folder}", f"train.seed={seed}", f"train.max_steps={updates}", f"train.ema_decay={DECAY}"]
    own += [f"checkpoints.every={spacing(updates)}", f"checkpoints.keep={CHECKPOINTS}", "checkpoints.parent_share=0"]
    command = [sys.executable, "-m", "train.finetune", "--from", model, *parts, *own, *settings]
    say(f"seed {seed}")
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"train.finetune failed with status {done.returncode}: {done.stderr.strip()[-300:]}")


def translate(folders: Sequence[Path], unrelated: Sequence[Path], sources: list[str]) -> Translations:
    """Return the translations by each model of each way to average."""
    texts: Translations = {}
    with temporary_folder() as temporary:
        means = {name: [variant(run, name, temporary) for run in folders] for name in PER_RUN}
        for name in (LAST, MEAN):
            save_mean(means[name], soup := temporary / f"soup, {name}")
            means[f"soup: mean of all seeds' {name}"] = [soup]
        if unrelated:
            save_mean(unrelated, temporary / "unrelated")
            means["mean of models from different first weights"] = [temporary / "unrelated"]
        for name, models in means.items():
            texts[name] = [Translator.from_pretrained(one)(sources) for one in models]
            say(name)
        ensemble = Translator.from_pretrained(means[MEAN])
        texts[f"ensemble of all seeds' {MEAN}"] = [ensemble(sources)]
    return texts


def variant(run: Path, name: str, folder: Path) -> Path:
    """Write a model folder with other weights of a run; return it."""
    out = folder / f"{run.name}, {name}"
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoints", "eval", "*.jsonl"))
    save_tensors(out / "model.safetensors", choose_weights(run, name))
    return out


def choose_weights(run: Path, name: str) -> dict[str, Tensor]:
    """Return the weights that `name` describes, from the checkpoints of a run."""
    paths = Checkpoints(run / "checkpoints").to_average()
    if name.startswith("exponential"):
        return load_mean(paths[-1])
    last = 1 if name == LAST else int(name.split()[4])
    assert len(paths) >= last, f"{run} has {len(paths)} checkpoints"
    return mean_weights(load_tensors(path / "model.safetensors") for path in paths[-last:])


def read(name: str, texts: Iterable[Sequence[str]], references: Sequence[str]) -> dict[str, Any]:
    """Return BLEU of each model of a row, and the statistics of its sentences."""
    texts = list(texts)
    bleu = [BLEU().corpus_score(list(text), [list(references)]).score for text in texts]
    say(f"{name}: {', '.join(f'{one:.1f}' for one in bleu)}")
    return {"bleu": bleu, "p": None, "statistics": [sentence_statistics(text, references) for text in texts]}


def make_tables(result: Mapping[str, Any]) -> Tables:
    """Return a row per way to average."""
    last = statistics.mean(result["rows"][LAST]["bleu"])
    rows = []
    for name, row in result["rows"].items():
        bleu, models = statistics.mean(row["bleu"]), len(row["bleu"])
        several = f" ({min(row['bleu']):.1f} to {max(row['bleu']):.1f})" if models > 1 else ""
        difference = "" if name == LAST else f"{bleu - last:+.1f}"
        rows.append(
            [name, str(models), f"{bleu:.1f}{several}", difference, "" if row["p"] is None else f"{row['p']:.3f}"]
        )
    note = (
        f"{result['pairs']:,} pairs, {result['updates']} updates, a checkpoint every {result['every']}, "
        f"seeds {', '.join(map(str, result['seeds']))}; BLEU: `{result['signature']}`; {about_machine(result)}."
    )
    return {NAME: [table(["weights", "models", "BLEU", "BLEU minus last checkpoint", "p"], rows, note)]}


if __name__ == "__main__":
    run_command(main)
