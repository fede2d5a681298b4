"""Finetune an included model on the first pairs of a corpus, and measure BLEU on that kind of text and on other text.

    python -m benchmarks.finetune_included --data train.en train.de --pairs 5000 \\
        --test test_2016_flickr.en test_2016_flickr.de --general test.en test.de
    python -m benchmarks.finetune_included --smoke-test

Runs `python -m train.finetune`, once with training and then with other values of checkpoints.parent_share, which change
only the mean of the weights. A finished run is not trained again. Writes benchmarks/results/finetune_included.json.
Settings at the end of the command are those of every run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.launch import environment
from benchmarks.own_text import START, take_lines, write_grammar
from benchmarks.run_logs import Clock, read_lines, read_settings
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table, temporary_folder
from common.command import run_command
from common.errors import InputError
from train.size_rules import PARENT_SHARE

NAME = "finetune_included"


def main() -> None:
    """Finetune, evaluate and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--model", default="en-de", help="included model (default: en-de)")
    parser.add_argument("--data", nargs=2, type=Path, metavar="FILE", help="training source and target")
    parser.add_argument("--test", nargs=2, type=Path, metavar="FILE", help="source and target of the same kind of text")
    parser.add_argument("--general", nargs=2, type=Path, metavar="FILE", help="source and target of other text")
    parser.add_argument("--pairs", type=int, default=5000, help="number of pairs (default: 5000)")
    parser.add_argument(
        "--shares", nargs="*", type=float, default=[0, 0.2, 0.6], help="further values of checkpoints.parent_share"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/finetune_included"), help="folder of the runs")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="settings of every run")
    args = parser.parse_intermixed_args()
    if args.smoke_test:
        with temporary_folder() as folder:
            files = write_grammar(folder)
            short = ["train.max_steps=2", "train.log_with=none", "validation.bleu_sentences=0", "decode.beam=1"]
            result = measure(args.model, 60, files, [files, files], [], folder, short)
    elif args.data and args.test and args.general:
        tests = [args.test, args.general]
        result = measure(args.model, args.pairs, args.data, tests, args.shares, args.runs, args.overrides)
    else:
        parser.error("give --data, --test and --general")
    save(NAME, result, make_tables(result), smoke_test=args.smoke_test)


def measure(
    model: str,
    pairs: int,
    data: Sequence[Path],
    tests: Sequence[Sequence[Path]],
    shares: Sequence[float],
    runs: Path,
    overrides: Sequence[str],
) -> dict[str, Any]:
    """Return times, and the gains by share of the parent's weights. `tests`: the same kind of text, and other text."""
    run = (runs / f"{model}-{pairs}").resolve()
    run.mkdir(parents=True, exist_ok=True)
    parts = [take_lines(file, pairs, run / f"train.{i}.txt") for i, file in enumerate(data)]
    words = [f"run_dir={run}", f"data.cache_dir={runs.resolve() / 'cache'}", *overrides]
    for option, files in zip(("--test", "--general"), tests, strict=True):
        words += [option, *(str(file.resolve()) for file in files)]
    started = time.monotonic()
    rows = [finetune(run, model, [*map(str, parts), *words], PARENT_SHARE)]
    minutes = (time.monotonic() - started) / 60
    rows += [finetune(run, model, [*map(str, parts), *words], share) for share in shares]
    clock, settings = Clock(read_lines(run / "timing.jsonl")), read_settings(run)
    updates = settings["train.max_steps"]
    return new_result(
        model=model,
        pairs=pairs,
        threads=settings["train.threads"],
        updates=updates,
        epochs=(run / START).read_text(encoding="utf-8").split(" epochs")[0].split()[-1],
        target_tokens=round(clock.tokens(updates)),
        minutes_of_updates=round(clock.training_seconds() / 60, 1),
        minutes=round(minutes, 1),
        cpu_minutes=round(clock.blocks[-1]["cpu_seconds"] / 60, 1),
        rows=rows,
    )


def finetune(run: Path, model: str, words: Sequence[str], share: float) -> dict[str, Any]:
    """Run the command to its end. Return the share and what it gained."""
    setting = f"checkpoints.parent_share={share:g}"
    command = [sys.executable, "-m", "train.finetune", "--from", model, *words, setting]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f"finetuning in {run} ended with status {done.returncode}")
    if not (run / START).exists():
        (run / START).write_text(done.stdout, encoding="utf-8")
    gains = json.loads((run / "eval/finetuning.json").read_text(encoding="utf-8"))["gains"]
    return {"parent_share": share, "gains": gains}


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a row for each test set and share."""
    headings = ["test set", "lines", "share of the parent's weights", "BLEU before", "BLEU after", "change", "p"]
    rows = [
        [
            gain["test_set"].removesuffix(".gz"),
            f"{gain['lines']:,}",
            f"{row['parent_share']:g}",
            f"{gain['before']:.1f}",
            f"{gain['after']:.1f}",
            f"{gain['after'] - gain['before']:+.1f}",
            f"{gain['p']:.4f}",
        ]
        for number in range(len(result["rows"][0]["gains"]))
        for row in sorted(result["rows"], key=lambda row: float(row["parent_share"]))
        for gain in [row["gains"][number]]
    ]
    threads = "all cores" if result["threads"] is None else f"threads: {result['threads']}"
    note = (
        f"{result['model']} on {result['pairs']:,} pairs: {result['updates']:,} updates ({result['epochs']} epochs) in "
        f"{result['minutes_of_updates']:.1f} minutes; the whole command with both translations of both test sets: "
        f"{result['minutes']:.1f} minutes. {about_machine(result)}; {threads}. "
        f"`{result['rows'][0]['gains'][0]['signature']}`; p: paired bootstrap resampling."
    )
    return {NAME: [table(headings, rows, note)]}


if __name__ == "__main__":
    run_command(main)
