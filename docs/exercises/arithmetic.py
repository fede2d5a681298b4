"""How many held-out problems a GPT gets right that was trained on the built-in arithmetic.

    python docs/exercises/arithmetic.py runs/gpt_addition
    python docs/exercises/arithmetic.py runs/gpt_calculator --problems 5000

prints the share by operation and length, and some of the failures, and writes benchmarks/results/<run>.json.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from benchmarks.machine import describe_machine, write_result
from benchmarks.quality import read_lines, training_seconds
from common.command import run_command
from common.errors import InputError
from common.settings import flatten_settings, load_saved_settings
from data_pipeline.builtin.arithmetic import Document, addition, answer, calculator, final_answer, operation_and_digits
from data_pipeline.sources.names import parse_specs
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from train.config import RunConfig


@dataclass(frozen=True)
class Attempt:
    """A question and what the model made of it."""

    question: str
    written: str
    """The model's line, with its working."""
    working: str
    """What it should have been."""

    @property
    def right(self) -> bool:
        """The answer counts, however it was found."""
        return final_answer(self.written) == answer(self.question)


def main() -> None:
    """Read the command line, let the model answer, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--problems", type=int, default=10_000, help="of the test split, at most (%(default)s)")
    parser.add_argument("--failures", type=int, default=10, help="that are shown (%(default)s)")
    args = parser.parse_args()
    if args.problems < 1 or args.failures < 0:
        parser.error("--problems must be at least 1 and --failures at least 0")
    config = load_saved_settings(RunConfig, args.run / "config.yaml")
    attempts = solve(Generator.from_pretrained(args.run), problems(config, args.problems))
    wrong = [attempt for attempt in attempts if not attempt.right]
    for attempt in wrong[: args.failures]:
        print(f"{attempt.question}\n  the model  {attempt.written}\n  right      {attempt.working}")
    write_result(args.run.name, report(args.run, config, attempts, wrong[: args.failures]))
    print(f"{len(attempts) - len(wrong):,} of {len(attempts):,} held-out problems are right")


def problems(config: RunConfig, n: int) -> list[Document]:
    """At most `n` problems of the split test of what the run was trained on.

    Raises ValueError where that is not one of the built-in kinds of arithmetic.
    """
    data = config.data
    specs = parse_specs(data.train, "language_modelling") if data.task == "language_modelling" else []
    if len(specs) == 1 and specs[0].kind == "arithmetic":
        if specs[0].path == "addition":
            return list(addition("test", n, data.seed, data.digits))
        return list(calculator("test", n, data.seed))
    raise InputError(f"the run was trained on {data.train}; this needs one of data.train=addition or calculator")


def solve(generator: Generator, documents: list[Document]) -> list[Attempt]:
    """The model's likeliest line for each question. Questions of one length go together, which is fastest."""
    longest = max(len(question) + len(working) for (question, _), (working, _) in documents)
    attempts = []
    ordered = sorted(documents, key=lambda document: len(document[0][0]))
    for length, group in groupby(ordered, key=lambda document: len(document[0][0])):
        lines = list(group)
        config = SampleConfig(temperature=0, max_tokens=longest - length)
        written = generator.generate([question for (question, _), _ in lines], config)
        attempts += [
            Attempt(question, text.split("\n")[0], working.rstrip("\n"))
            for ((question, _), (working, _)), (text,) in zip(lines, written, strict=True)
        ]
    return attempts


def report(run: Path, config: RunConfig, attempts: list[Attempt], shown: list[Attempt]) -> dict[str, Any]:
    """What stands in the result: the recipe, the time, and right answers by operation and length."""
    settings, defaults = flatten_settings(config), flatten_settings(RunConfig())
    places = ("data.cache_dir", "run_dir")
    classes: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for attempt in attempts:
        classes[operation_and_digits(attempt.question)].append(attempt.right)
    return {
        "machine": describe_machine(),
        "differs_from_base": {k: v for k, v in settings.items() if v != defaults[k] and k not in places},
        "updates": settings["train.max_steps"],
        "training_minutes": round(training_seconds(read_lines(run / "timing.jsonl")) / 60, 1),
        "problems": len(attempts),
        "right": sum(attempt.right for attempt in attempts),
        "classes": [
            {"operation": operation, "lengths": lengths, "problems": len(right), "right": sum(right)}
            for (operation, lengths), right in sorted(classes.items())
        ],
        "failures": [{"question": a.question, "written": a.written, "right": a.working} for a in shown],
    }


if __name__ == "__main__":
    run_command(main)
