"""Break it: train with a famous bug, look at the curve and the translations, and guess the bug.

    python -m docs.learn.break_it 3             # train with bug 3 (1 to 8; 0 is the healthy code)
    python -m docs.learn.break_it 3 --answer    # the bug, and the test that catches it
    python -m docs.learn.break_it --check       # run the test of each bug, without and with the bug
    python -m docs.learn.break_it --all         # train with all bugs, and save the result

A finished run is not trained again. The training is that of configs/demo.yaml with a smaller model and fewer updates,
always on the CPU. The healthy curve is that of benchmarks/results/break_it.json.
"""

import argparse
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.runner import RESULTS, ROOT, Tables, about_machine, new_result, save, table
from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.settings import load_settings
from docs.exercises.runs import OUT
from docs.learn.bugs import BUGS, broken
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from train.config import RunConfig
from train.demo import SENTENCES
from train.loop import train

SETTINGS = (
    *("data.grammar_pairs=10000", "data.vocab_size=1000", "model.d_model=96", "model.n_layers=1", "model.n_heads=2"),
    *("model.d_ff=192", "batches.tokens_per_update=1600", "batches.buckets=12", "schedule.warmup_steps=100"),
    *("train.max_steps=400", "train.log_every=10", "train.log_with=none", "validation.every=100"),
    *("validation.bleu_sentences=50", "checkpoints.every=400", "checkpoints.average_last=1"),
)
"""Settings that differ from configs/demo.yaml."""
PYTEST = ("-q", "--tb=line", "-p", "no:cacheprovider", f"--rootdir={ROOT}")
WIDTH, HEIGHT = 64, 16
"""Size of a curve in the terminal, in characters."""


def main() -> None:
    """Train, answer, check or collect, as the command line says."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, nargs="?", choices=(0, *BUGS), help="number of a bug; 0 is no bug")
    parser.add_argument("--answer", action="store_true", help="print the bug, and run the test that catches it")
    parser.add_argument("--check", action="store_true", help="run the test of each bug, without and with the bug")
    parser.add_argument("--all", action="store_true", help="train with all bugs, and save the result")
    parser.add_argument("--runs", type=Path, default=Path("runs/break_it"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result of --all (default: {OUT})")
    args = parser.parse_args()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if args.check:
        check()
    elif args.all:
        collect(args.runs, args.out)
    elif args.number is None:
        parser.error("give the number of a bug, --check or --all")
    elif args.answer:
        answer(args.number)
    else:
        show(args.number, train_with(args.number, args.runs))


def train_with(number: int, runs: Path) -> dict[str, Any]:
    """Train with a bug, or without any (0). Return curve, validations and translations."""
    config, folder = load_settings(RunConfig, ROOT / "configs" / "demo.yaml", list(SETTINGS)), runs / str(number)
    with broken(BUGS[number]) if number else contextlib.nullcontext():
        if (stopped_by := train(config, folder)) is not None:  # by Ctrl-C: there is no model yet
            sys.exit(128 + stopped_by)
        # Prepacking replaces some of the functions that the patches change.
        translator = Translator.from_pretrained(folder, DecodeConfig(beam=1, max_extra=10), device="cpu", prepack=False)
        translations = translator(list(SENTENCES))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "curve": [[line["step"], round(line["loss"], 4)] for line in lines if "loss" in line],
        "validations": [
            [line["step"], round(line["valid_loss"], 4), line["valid_bleu"]] for line in lines if "valid_bleu" in line
        ],
        "translations": translations,
    }


def show(number: int, run: dict[str, Any]) -> None:
    """Print the curve beside the healthy one, and the translations."""
    healthy = json.loads((RESULTS / "break_it.json").read_text(encoding="utf-8"))["runs"]["0"]
    print(f"\nTraining loss in nats per token: o healthy, {number} with bug {number}\n")
    print(draw({"o": healthy["curve"], str(number): run["curve"]}))
    for name, own in (("healthy", healthy), (f"bug {number}" if number else "your run", run)):
        step, loss, bleu = own["validations"][-1]
        print(f"\n{name}: validation loss {loss:.2f} and BLEU {bleu:.1f} after {step} updates")
        for source, translation in zip(SENTENCES, own["translations"], strict=True):
            print(f"  {source}\n    {translation}")
    if number:
        print(f"\nWhat is broken? The answer: python -m docs.learn.break_it {number} --answer")


def draw(curves: dict[str, list[list[float]]]) -> str:
    """Return curves as text. Each has a letter; a later curve covers an earlier one."""
    last = max(step for curve in curves.values() for step, _ in curve)
    top = max(loss for curve in curves.values() for _, loss in curve)
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for letter, curve in curves.items():
        for step, loss in curve:
            rows[HEIGHT - 1 - int(loss / top * (HEIGHT - 1))][int(step / last * (WIDTH - 1))] = letter
    labels = [f"{top:6.2f}", *[" " * 6] * (HEIGHT - 2), f"{0:6.2f}"]
    lines = [f"{label} |{''.join(row)}".rstrip() for label, row in zip(labels, rows, strict=True)]
    return "\n".join([*lines, f"{'':6} +{'-' * WIDTH}", f"{'':8}{'update':<{WIDTH - 6}}{last:>6}"])


def answer(number: int) -> None:
    """Print what is broken and why, and run the test that catches it."""
    if not number:
        raise InputError("0 is the healthy code. Give the number of a bug, 1 to 8")
    bug = BUGS[number]
    print(f"Bug {number}: {bug.name}.\n{bug.why}\n")
    for edit in bug.edits:
        print(f"{edit.diff()}\n")
    print(f"The test that catches it:\n$ python -m pytest {bug.test}\n")
    status, output = run_tests([bug.test])
    print("without the bug: it passes" if status == 0 else f"without the bug: it fails\n{output}")
    with broken(bug):
        status, output = run_tests([bug.test])
    print(f"with the bug: it {'fails' if status else 'passes'}\n{output}")


def check() -> None:
    """Run the tests of the bugs. Raise InputError unless they pass without any bug, and each fails with its bug."""
    status, output = run_tests(sorted({bug.test for bug in BUGS.values()}))
    if status:
        raise InputError(f"without any bug, the tests do not all pass:\n{output}")
    for number, bug in BUGS.items():
        with broken(bug):
            status, output = run_tests([bug.test])
        if status != 1:  # 1: a test failed; other numbers are errors of the call
            raise InputError(f"{bug.test} does not catch bug {number}, {bug.name}:\n{output}")
        print(f"{number}  {bug.name}: caught by {bug.test}")


def run_tests(tests: list[str]) -> tuple[int, str]:
    """Run tests in this process, with the bug that is in force. Return pytest's exit status and output."""
    import pytest  # of the development environment only

    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = pytest.main([*PYTEST, *(str(ROOT / test) for test in tests)])
    return int(status), output.getvalue()


def collect(runs: Path, out: Path) -> None:
    """Train without and with each bug, and save the result."""
    trained = {str(number): train_with(number, runs) for number in (0, *BUGS)}
    result = new_result(settings=list(SETTINGS), runs=trained)
    save("break_it", result, make_tables(result), folder=out)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return what the reader sees of each run, its translations, and the answers."""
    figures, translations = [], []
    for number, run in result["runs"].items():
        name, (_, valid_loss, bleu) = number if int(number) else "healthy", run["validations"][-1]
        last = [loss for _, loss in run["curve"][-5:]]
        figures.append([name, f"{sum(last) / len(last):.2f}", f"{valid_loss:.2f}", f"{bleu:.1f}"])
        translations.append([name, *run["translations"][:2]])
    answers = [[number, bug.name, bug.why, f"`{bug.test.partition('::')[2]}`"] for number, bug in BUGS.items()]
    note = f"`{result['command']}`; {about_machine(result)}."
    headings = ["bug", "training loss (mean of the last 5 logged)", "validation loss", "validation BLEU (greedy)"]
    return {
        "break_it": [table(headings, figures, note)],
        "break_it_translations": [table(["bug", *SENTENCES[:2]], translations)],
        "break_it_answers": [table(["bug", "what is broken", "why you see what you see", "test"], answers)],
    }


if __name__ == "__main__":
    run_command(main)
