"""Exercise 2: count the held-out problems that a GPT trained on the built-in arithmetic gets right.

    python -m docs.exercises.arithmetic runs/gpt_addition
    python -m docs.exercises.arithmetic runs/gpt_calculator --problems 5000

prints some of the failures, and writes the share by operation and length to runs/results/<run>.json.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.run_logs import Clock, differs_from_base, read_lines, read_settings
from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table
from common.command import run_command
from common.errors import InputError
from common.settings import load_saved_settings
from data_pipeline.builtin.arithmetic import Document, addition, answer, calculator, final_answer, operation_and_digits
from data_pipeline.sources.names import parse_specs
from docs.exercises.runs import OUT
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from train.config import RunConfig


@dataclass(frozen=True)
class Attempt:
    """A question and the model's answer."""

    question: str
    written: str
    """Line that the model generated, with its scratchpad."""
    expected: str
    """Correct line."""

    @property
    def right(self) -> bool:
        """Return True if the answer is correct. The scratchpad does not matter."""
        return final_answer(self.written) == answer(self.question)


def main() -> None:
    """Let the model answer, and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--problems", type=int, default=10_000, help="maximum number of problems (default: 10,000)")
    parser.add_argument("--failures", type=int, default=10, help="number of failures to print (default: 10)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    args = parser.parse_args()
    if args.problems < 1 or args.failures < 0:
        parser.error("--problems must be at least 1 and --failures at least 0")
    config = load_saved_settings(RunConfig, args.run / "config.yaml")
    attempts = solve(Generator.from_pretrained(args.run), problems(config, args.problems))
    wrong = [attempt for attempt in attempts if not attempt.right]
    for attempt in wrong[: args.failures]:
        print(f"{attempt.question}\n  the model  {attempt.written}\n  right      {attempt.expected}")
    result = new_result(**report(args.run, attempts, wrong[: args.failures]))
    save(args.run.name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    print(f"{len(attempts) - len(wrong):,} of {len(attempts):,} held-out problems are right")


def problems(config: RunConfig, n: int) -> list[Document]:
    """Return at most `n` test problems of the corpus that the run was trained on.

    Raises InputError if it is not one of the built-in kinds of arithmetic.
    """
    data = config.data
    specs = parse_specs(data.train, "language_modelling") if data.task == "language_modelling" else []
    if len(specs) == 1 and specs[0].kind == "arithmetic":
        if specs[0].path == "addition":
            return list(addition("test", n, data.seed, data.digits))
        return list(calculator("test", n, data.seed))
    raise InputError(
        f"{config.run_dir} was trained on data.train={data.train}. Give a run that was trained on data.train=addition "
        "or data.train=calculator."
    )


def solve(generator: Generator, documents: list[Document]) -> list[Attempt]:
    """Return the model's likeliest line for each question. Questions of one length form a batch."""
    longest = max(len(question) + len(expected) for (question, _), (expected, _) in documents)
    attempts = []
    ordered = sorted(documents, key=lambda document: len(document[0][0]))
    for length, group in groupby(ordered, key=lambda document: len(document[0][0])):
        lines = list(group)
        config = SampleConfig(temperature=0, max_tokens=longest - length)
        written = generator.generate([question for (question, _), _ in lines], config)
        attempts += [
            Attempt(question, text.split("\n")[0], expected.rstrip("\n"))
            for ((question, _), (expected, _)), (text,) in zip(lines, written, strict=True)
        ]
    return attempts


def report(run: Path, attempts: list[Attempt], shown: list[Attempt]) -> dict[str, Any]:
    """Return the recipe, the training time, and right answers by operation and length."""
    settings = read_settings(run)
    classes: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for attempt in attempts:
        classes[operation_and_digits(attempt.question)].append(attempt.right)
    return {
        "differs_from_base": differs_from_base(settings) | {"data.train": settings["data.train"]},
        "updates": settings["train.max_steps"],
        "training_minutes": round(Clock(read_lines(run / "timing.jsonl")).training_seconds() / 60, 1),
        "problems": len(attempts),
        "right": sum(attempt.right for attempt in attempts),
        "classes": [
            {"operation": operation, "lengths": lengths, "problems": len(right), "right": sum(right)}
            for (operation, lengths), right in sorted(classes.items())
        ],
        "failures": [{"question": a.question, "written": a.written, "right": a.expected} for a in shown],
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return right answers by operation and length, and failures."""
    rows = [
        [row["operation"], row["lengths"], f"{row['problems']:,}", f"{row['right']:,}",
         f"{row['right'] / row['problems']:.2%}"]
        for row in result["classes"]
    ]  # fmt: skip
    share = f"**{result['right'] / result['problems']:.2%}**"
    rows.append(["all", "", f"{result['problems']:,}", f"{result['right']:,}", share])
    note = f"{result['updates']:,} updates in {result['training_minutes']:.1f} minutes; {about_machine(result)}."
    failures = [[f"`{own[key]}`" for key in ("question", "written", "right")] for own in result["failures"]]
    return {
        "arithmetic": [table(["operation", "digits", "held-out problems", "right answers", "share"], rows, note)],
        "failures": [table(["question", "model's line", "correct line"], failures)],
    }


if __name__ == "__main__":
    run_command(main)
