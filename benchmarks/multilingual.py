"""Compare one model of several directions with a model of each direction: BLEU of the same size and recipe.

    python -m benchmarks.multilingual --data FOLDER --updates 1500
    python -m benchmarks.multilingual --data FOLDER --updates 1500 --models en-de en-fr all --train-only
    python -m benchmarks.multilingual --smoke-test

FOLDER has `en-de.train.en` and `en-de.train.de`, in the same way `en-de.test`, `en-fr.train` and `en-fr.test`, and
perhaps `en-de.valid`. If a direction has no validation files, every n-th pair is held out, 2,000 at most, and all
training pairs are removed that have one of their sentences.

The models are one of each direction, `all` with as many updates as one of them, and `all, longer` with as many updates
as all of them together. `--runs` keeps the runs: the same command resumes what was stopped, and skips what is finished.
p is paired bootstrap resampling against the model of one direction. Writes benchmarks/results/multilingual.json.
"""

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from benchmarks.launch import environment, training_command
from benchmarks.run_logs import Line, differs_from_base, read_lines, read_settings
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.directions import parse_direction
from common.errors import InputError
from common.files import expand, write_text
from common.text_input import read_all_lines
from data_pipeline.builtin.grammar import GrammarSplit, generate
from transformer.included_models import count_stored

RECIPE = (
    *("model.d_model=128", "model.n_layers=4", "model.n_heads=4", "model.d_ff=256", "model.norm=pre"),
    *("model.dropout=0.1", "data.vocab_size=8000", "data.max_length=120", "batches.tokens_per_update=4000"),
    *("schedule.name=wsd", "schedule.peak_lr=4e-3", "schedule.lowest_lr=4e-5", "schedule.warmup_steps=300"),
    *("checkpoints.average_last=5", "checkpoints.keep=5", "validation.bleu_sentences=100", "train.log_with=none"),
    *("train.threads=1", "train.precision=bf16", "decode.alpha=1.0"),
)
TINY = (
    *("model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "data.vocab_size=400"),
    *("train.precision=no", "decode.max_extra=0", "schedule.warmup_steps=1", "validation.bleu_sentences=2"),
)
HELD_OUT = 2000
"""Largest number of pairs that are held out for validation."""
ALL, LONGER = "all", "all, longer"
SETS = ("valid", "test")


@dataclass(frozen=True)
class Experiment:
    """The corpora and the runs."""

    data: Path
    runs: Path
    updates: int
    beam: int
    settings: Sequence[str]

    @property
    def directions(self) -> list[str]:
        """Directions that have training files. Raises InputError if there are fewer than two."""
        found = sorted({file.name.split(".")[0] for file in self.data.glob("*-*.train.*")})
        if len(found) < 2:
            raise InputError(f"{self.data} has no training files of two directions, such as en-de.train.en")
        return found

    @property
    def models(self) -> dict[str, list[str]]:
        """Directions of each model by its name."""
        each = {direction: [direction] for direction in self.directions}
        return each | {ALL: self.directions, LONGER: self.directions}

    def files(self, direction: str, split: str) -> tuple[Path, Path]:
        """Return source and target of a split; of a held-out one, in the folder of the runs."""
        folder = self.data
        if split != "test" and not (self.data / f"{direction}.valid.{direction.split('-')[0]}").exists():
            folder = self.hold_out(direction)
        source, target = (folder / f"{direction}.{split}.{language}" for language in parse_direction(direction))
        return source, target

    def hold_out(self, direction: str) -> Path:
        """Write training and validation files of a corpus that has no validation files. Return their folder."""
        languages, folder = parse_direction(direction), self.runs / "held_out"
        if not (folder / f"{direction}.valid.{languages[1]}").exists():
            columns = [read_all_lines(self.data / f"{direction}.train.{language}") for language in languages]
            folder.mkdir(parents=True, exist_ok=True)
            for split, pairs in zip(("train", "valid"), split_pairs(list(zip(*columns, strict=True))), strict=True):
                for side, language in enumerate(languages):
                    text = "".join(f"{pair[side]}\n" for pair in pairs)
                    write_text(folder / f"{direction}.{split}.{language}", text)
        return folder

    def folder(self, model: str) -> Path:
        """Return the run folder of a model."""
        return self.runs / f"{model.replace(', ', '_')}-{self.updates_of(model)}"

    def updates_of(self, model: str) -> int:
        """Return the number of updates of a model."""
        return self.updates * (len(self.directions) if model == LONGER else 1)

    def is_trained(self, model: str) -> bool:
        """Return True if a run is finished."""
        return (self.folder(model) / "model.safetensors").exists()

    def train(self, model: str) -> None:
        """Train in a process of its own, or continue. Raises InputError if training fails."""
        if self.is_trained(model):
            return
        updates, folder = self.updates_of(model), self.folder(model)
        folder.mkdir(parents=True, exist_ok=True)
        every = [f"checkpoints.every={max(1, updates // 30)}", f"validation.every={max(1, updates // 5)}"]
        own = [*self.settings, *self._corpora(model), f"train.max_steps={updates}", *every]
        command = training_command([*own, f"run_dir={folder.resolve()}", f"data.cache_dir={self.runs / 'cache'}"])
        say(f"training {model}: {shlex.join(command)}")
        with (folder / "log").open("a") as log:
            done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT)
        if done.returncode:
            last = (folder / "log").read_text(encoding="utf-8").splitlines()[-1:]
            raise InputError(f"training {model} failed: {' '.join(last)} (more in {folder / 'log'})")

    def _corpora(self, model: str) -> list[str]:
        directions, settings = self.models[model], []
        for split in ("train", "valid"):
            for direction in directions:
                name = f"data.{split}.{direction}" if model in (ALL, LONGER) else f"data.{split}"
                settings.append(f"{name}=[{','.join(str(file.resolve()) for file in self.files(direction, split))}]")
        if model not in (ALL, LONGER):
            source, target = parse_direction(directions[0])
            settings += [f"data.source_lang={source}", f"data.target_lang={target}"]
        return settings

    def score(self, model: str, direction: str, split: str) -> dict[str, Any]:
        """Return BLEU and chrF of a test set, from the report of an earlier call if there is one."""
        report = self._report(model, direction, split)
        if report is None:
            say(f"scoring {model} on the {split} set of {direction}")
            (source, reference), (source_lang, target_lang) = self.files(direction, split), parse_direction(direction)
            command = training_command(["--model", str(self.folder(model)), "--source", str(source)])
            command[1] = "evaluate/bleu.py"
            command += ["--reference", str(reference), "--from", source_lang, "--to", target_lang]
            command += ["--beam", str(self.beam), "--output", str(self._reports(model, direction, split))]
            done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
            report = self._report(model, direction, split)
            if done.returncode or report is None:
                raise InputError(f"{shlex.join(command[1:])} failed: {done.stderr[-600:]}")
        about = json.loads(report.read_text(encoding="utf-8"))
        found = {"lines": about["lines"], "bleu": round(about["bleu"], 2), "signature": about["signature"]}
        chrf = about["scores"]["chrf2"]
        found |= {"chrf": round(chrf["score"], 2), "chrf_signature": chrf["signature"]}
        single, p = self._report(direction, direction, split), None
        if model != direction and single is not None:
            _, reference = self.files(direction, split)
            p = paired_p(single.with_suffix(".hyp"), report.with_suffix(".hyp"), reference)
        return found | {"p": p, "minutes": round(about["seconds"] / 60, 1)}

    def _reports(self, model: str, direction: str, split: str) -> Path:
        return (self.folder(model) / "eval" / f"{direction}.{split}.beam{self.beam}").resolve()

    def _report(self, model: str, direction: str, split: str) -> Path | None:
        return next(self._reports(model, direction, split).glob("*.json"), None)

    def figures(self, model: str) -> dict[str, Any]:
        """Return what is known of a model: size, time, last validation, scores by direction and set."""
        folder = self.folder(model)
        settings, metrics = read_settings(folder), read_lines(folder / "metrics.jsonl")
        return {
            "updates": settings["train.max_steps"],
            "parameters": count_stored(folder / "model.safetensors"),
            "cpu_minutes": round(cpu_seconds(read_lines(folder / "timing.jsonl")) / 60, 1),
            "settings": differs_from_base(settings),
            "last_validation": next(line for line in reversed(metrics) if "valid_loss" in line),
            "scores": {
                direction: {split: self.score(model, direction, split) for split in SETS}
                for direction in self.models[model]
            },
        }


def split_pairs(pairs: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return training pairs and evenly spread validation pairs. No training pair has a sentence of the others."""
    step = max(20, -(-len(pairs) // HELD_OUT))
    held = pairs[step - 1 :: step]
    sentences = {sentence for pair in held for sentence in pair}
    return [pair for pair in pairs if not sentences & set(pair)], held


def paired_p(first: Path, second: Path, reference: Path) -> float:
    """Return p of paired bootstrap resampling of BLEU for two translations."""
    systems: list[Any] = [(str(number), read_all_lines(file)) for number, file in enumerate((first, second))]
    metrics: Any = {"BLEU": BLEU(references=[read_all_lines(reference)], force=True)}
    _, results = PairedTest(systems, metrics, None, test_type="bs", n_samples=1000)()
    compared: Any = results["BLEU"][1]
    return float(compared.p_value)


def cpu_seconds(timing: list[Line]) -> float:
    """Return the CPU seconds of all processes of a run, each of which counts its own."""
    spent = [line["cpu_seconds"] for line in timing if "cpu_seconds" in line]
    return float(sum(now for now, later in zip(spent, [*spent[1:], 0.0], strict=True) if later < now))


def main() -> None:
    """Train, score and save."""
    parser = command_line(__doc__)
    parser.add_argument("--data", type=expand, metavar="FOLDER", help="folder of the corpora")
    parser.add_argument("--updates", type=int, default=1500, help="updates of a model (default: %(default)s)")
    parser.add_argument("--beam", type=int, default=4, help="beam of the scores; 1 is greedy (default: %(default)s)")
    parser.add_argument("--models", nargs="+", metavar="NAME", help=f"models (default: all models but '{LONGER}')")
    parser.add_argument("--runs", type=expand, default=Path("runs/multilingual"), help="folder of the runs")
    parser.add_argument("--train-only", action="store_true", help="score nothing")
    args = parser.parse_args()
    if args.smoke_test:
        smoke_test()
        return
    if args.data is None:
        parser.error("--data is missing")
    experiment = Experiment(args.data, args.runs, args.updates, args.beam, RECIPE)
    chosen = args.models or [name for name in experiment.models if name != LONGER]
    if unknown := [name for name in chosen if name not in experiment.models]:
        parser.error(f"there is no model {unknown[0]!r}; there are {', '.join(experiment.models)}")
    for model in chosen:
        experiment.train(model)
    if not args.train_only:
        result = measure(experiment, chosen)
        save("multilingual", result, make_tables(result))


def smoke_test() -> None:
    """Do everything with two updates on the built-in corpus, from English to German and back."""
    with temporary_folder() as folder:
        splits: tuple[tuple[GrammarSplit, int], ...] = (("train", 400), ("test", 5))
        for split, n in splits:
            pairs = list(generate(split, n, 1, 0))
            for direction in ("en-de", "de-en"):
                for language in direction.split("-"):
                    side = ("en", "de").index(language)
                    text = "".join(f"{pair[side]}\n" for pair in pairs)
                    write_text(folder / f"{direction}.{split}.{language}", text)
        experiment = Experiment(folder, folder / "runs", 2, 1, [*RECIPE, *TINY])
        for model in experiment.models:
            experiment.train(model)
        result = measure(experiment, list(experiment.models))
        save("multilingual", result, make_tables(result), smoke_test=True)


def measure(experiment: Experiment, models: Sequence[str]) -> dict[str, Any]:
    """Return the figures of models; those of one direction are first, since others are compared with them."""
    ordered = [model for model in experiment.models if model in models]
    return new_result(beam=experiment.beam, models={model: experiment.figures(model) for model in ordered})


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each model, with BLEU of each direction."""
    models = result["models"]
    directions = sorted({direction for model in models.values() for direction in model["scores"]})
    columns = [(direction, split) for direction in directions for split in SETS]
    names = {"valid": "validation", "test": "test"}
    rows = [
        [name, f"{model['updates']:,}", f"{model['parameters'] / 1e6:.1f} M", f"{model['cpu_minutes']:.0f}"]
        + [_cell(model["scores"].get(direction, {}).get(split)) for direction, split in columns]
        for name, model in models.items()
    ]
    headings = ["model", "updates", "parameters", "CPU minutes"]
    headings += [f"{direction}, {names[split]}" for direction, split in columns]
    scores = [score for model in models.values() for own in model["scores"].values() for score in own.values()]
    signatures = ", ".join(f"`{signature}`" for signature in dict.fromkeys(score["signature"] for score in scores))
    search = "greedy search" if result["beam"] == 1 else f"beam {result['beam']}"
    note = (
        f"BLEU, {search}: {signatures}. In brackets: p of paired bootstrap resampling against the model of one "
        f"direction. CPU minutes are those of training with its validations on one thread; {about_machine(result)}."
    )
    return {"multilingual": [table(headings, rows, note)]}


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    return f"{score['bleu']:.1f}" + ("" if score["p"] is None else f" ({score['p']:.3f})")


if __name__ == "__main__":
    run_command(main)
