"""Exercise 3: does learning from a larger text first help with a small one?

    python docs/exercises/finetuning.py war_and_peace.txt tinyshakespeare.txt

trains on the large text, goes on with the small one in fewer updates at a lower rate, and trains on the small one
from scratch; three seeds of each. Writes benchmarks/results/finetuning.json. A run that has ended is not trained again.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import prepare
from docs.exercises.runs import Outcome, summary, train

CONFIG = "gpt_shakespeare_char"


def main() -> None:
    """Read the command line, train what is missing, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("large", type=Path, help="text file to learn from first")
    parser.add_argument("small", type=Path, help="text file to go on with; its last tenth is for validation")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--steps", type=int, default=2000, help="updates from scratch, and on the large text")
    parser.add_argument("--tuning-steps", type=int, default=500, help="updates of finetuning")
    parser.add_argument("--tuning-rates", type=float, nargs="+", default=[1e-3, 3e-4], help="its peak rates")
    parser.add_argument("--runs", type=Path, default=Path("runs/finetuning"), help="folder for the runs")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="for every run")
    args = parser.parse_intermixed_args()
    alphabet = shared_alphabet(args.large, args.small, args.runs)
    shared = (f"data.tokenizer={alphabet}", *args.overrides)
    on_small = (f"data.train={args.small.resolve()}", *shared)
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(1, args.seeds + 1):

        def run(kind: str, folder: str, *overrides: str, seed: int = seed) -> Path:
            run_dir = (args.runs / f"{folder}-{seed}").resolve()
            outcomes.setdefault(kind, []).append(train(run_dir, CONFIG, *overrides, f"train.seed={seed}"))
            return run_dir

        short = (f"train.max_steps={args.tuning_steps}", f"validation.every={max(1, args.tuning_steps // 5)}")
        run(f"from scratch, {args.steps:,} updates", "scratch", *on_small, f"train.max_steps={args.steps}")
        run(f"from scratch, {args.tuning_steps:,} updates", "scratch-short", *on_small, *short)
        both = args.steps + args.tuning_steps
        run(f"from scratch, {both:,} updates", "scratch-long", *on_small, f"train.max_steps={both}")
        large = (f"data.train={args.large.resolve()}", *shared, f"train.max_steps={args.steps}")
        first = run("the large text alone (loss on its own validation text)", "large", *large)
        for rate in args.tuning_rates:
            rates = (f"schedule.peak_lr={rate}", f"schedule.lowest_lr={rate / 10}")
            kind = f"{args.steps:,} updates on the large text, then {args.tuning_steps:,} at {rate:g}"
            run(kind, f"tuned-{rate:g}", *on_small, *short, *rates, f"train.init_from={first}")
    rows = [
        {"training": kind, "valid_loss": summary([o.last for o in runs]), "by_update": runs[0].valid_losses}
        for kind, runs in outcomes.items()
    ]
    write_result("finetuning", {"machine": describe_machine(), "overrides": args.overrides, "rows": rows})


def shared_alphabet(large: Path, small: Path, folder: Path) -> Path:
    """The vocabulary of both texts together, which a model that reads both needs."""
    texts = [str(large.resolve()), str(small.resolve())]
    data = DataConfig(task="language_modelling", train=texts, vocab_type="characters")
    return prepare(data, folder / "alphabet", quiet=True).tokenizer_file.resolve()


if __name__ == "__main__":
    run_command(main)
