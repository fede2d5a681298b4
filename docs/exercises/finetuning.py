"""Exercise 3: does training on a larger text first help with a small one?

    python -m docs.exercises.finetuning war_and_peace.txt tinyshakespeare.txt

trains on the large text, finetunes on the small one with fewer updates and a lower learning rate, and trains on the
small one from scratch; three seeds of each. Writes runs/results/finetuning.json. A finished run is not trained again.
"""

from pathlib import Path
from typing import Any

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table
from common.arguments import add_overrides
from common.command import run_command
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import prepare
from docs.exercises.runs import OUT, Trained, show_seeds, summary, train

CONFIG = "gpt_shakespeare_char"
RATES = [1e-3, 3e-4]


def main() -> None:
    """Train the runs that are missing, and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("large", type=Path, help="text file to train on first")
    parser.add_argument("small", type=Path, help="text file to finetune on; its last tenth is for validation")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each training (default: 3)")
    parser.add_argument("--steps", type=int, default=2000, help="updates from scratch, and on the large text")
    parser.add_argument("--tuning-steps", type=int, default=500, help="updates of finetuning")
    parser.add_argument(
        "--tuning-rate",
        type=float,
        action="append",
        help="peak learning rate; repeatable (default: 1e-3 and 3e-4)",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/finetuning"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    add_overrides(parser, "settings of every run")
    args = parser.parse_intermixed_args()
    alphabet = shared_alphabet(args.large, args.small, args.runs)
    shared = (f"data.tokenizer={alphabet}", *args.overrides)
    on_small = (f"data.train={args.small.resolve()}", *shared)
    trained: dict[str, list[Trained]] = {}
    for seed in range(1, args.seeds + 1):

        def run(kind: str, folder: str, *overrides: str, seed: int = seed) -> Path:
            run_dir = (args.runs / f"{folder}-{seed}").resolve()
            trained.setdefault(kind, []).append(train(run_dir, CONFIG, *overrides, f"train.seed={seed}"))
            return run_dir

        short = (f"train.max_steps={args.tuning_steps}", f"validation.every={max(1, args.tuning_steps // 5)}")
        run(f"from scratch, {args.steps:,} updates", "scratch", *on_small, f"train.max_steps={args.steps}")
        run(f"from scratch, {args.tuning_steps:,} updates", "scratch-short", *on_small, *short)
        both = args.steps + args.tuning_steps
        run(f"from scratch, {both:,} updates", "scratch-long", *on_small, f"train.max_steps={both}")
        large = (f"data.train={args.large.resolve()}", *shared, f"train.max_steps={args.steps}")
        first = run("the large text alone (loss on its own validation text)", "large", *large)
        for rate in args.tuning_rate or RATES:
            rates = (f"schedule.peak_lr={rate}", f"schedule.lowest_lr={rate / 10}")
            kind = f"{args.steps:,} updates on the large text, then {args.tuning_steps:,} at {rate:g}"
            run(kind, f"tuned-{rate:g}", *on_small, *short, *rates, f"train.init_from={first}")
    rows = [
        {"training": kind, "valid_loss": summary([run.last for run in runs]), "by_update": runs[0].valid_losses}
        for kind, runs in trained.items()
    ]
    result = new_result(overrides=args.overrides, rows=rows)
    save("finetuning", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def shared_alphabet(large: Path, small: Path, folder: Path) -> Path:
    """Return the vocabulary of both texts together, which a model for both needs."""
    texts = [str(large.resolve()), str(small.resolve())]
    data = DataConfig(task="language_modelling", train=texts, vocab_type="characters")
    return prepare(data, folder / "alphabet", quiet=True).tokenizer_file.resolve()


def make_tables(result: dict[str, Any]) -> Tables:
    """Return the loss of each kind of training."""
    rows = [[row["training"], show_seeds(row["valid_loss"])] for row in result["rows"]]
    note = f"{len(result['rows'][0]['valid_loss']['seeds'])} seeds per row; {about_machine(result)}."
    return {"finetuning": [table(["training", "validation loss: mean (min to max)"], rows, note)]}


if __name__ == "__main__":
    run_command(main)
