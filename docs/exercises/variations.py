"""Exercise 4: does one change from later papers help? Each change is one setting; the rest of the recipe stays.

    python -m docs.exercises.variations tinyshakespeare.txt

trains nanoGPT's recipe for a CPU and each of its variations with three seeds, and writes runs/results/variations.json.
A finished run is not trained again.
"""

import math
from pathlib import Path
from typing import Any

from benchmarks.language import seed_table
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table
from common.arguments import add_overrides
from common.command import run_command
from common.settings import load_settings
from docs.exercises.runs import OUT, show_seeds, summary, train
from train.config import RunConfig

CONFIG = "gpt_shakespeare_char"
SWIGLU = ("model.activation=swiglu", "model.d_ff=344")  # three matrices of two thirds of the width: as many parameters
VARIATIONS: dict[str, tuple[str, ...]] = {
    "nanoGPT's recipe": (),
    "rotary positions": ("model.positions=rotary",),
    "RMSNorm": ("model.norm_kind=rms",),
    "SwiGLU": SWIGLU,
    "2 groups of queries": ("model.n_kv_heads=2",),
    "all four (2 groups)": ("model.positions=rotary", "model.norm_kind=rms", *SWIGLU, "model.n_kv_heads=2"),
    "the paper's block": (
        "model.norm=post",
        "model.positions=sinusoidal",
        "model.activation=relu",
        "model.scale_embedding=true",
        "model.init=xavier",
    ),
}


def main() -> None:
    """Train the runs that are missing, and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("text", type=Path, help="training text; its last tenth is for validation")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each variation (default: 3)")
    parser.add_argument("--runs", type=Path, default=Path("runs/variations"), help="folder for the runs")
    parser.add_argument("--only", action="append", choices=VARIATIONS, help="train this variation; repeatable")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the result (default: {OUT})")
    add_overrides(parser, "settings of every run")
    args = parser.parse_intermixed_args()
    shared = (f"data.train={args.text.resolve()}", *args.overrides)
    rows = []
    for name in args.only or VARIATIONS:
        folder = "".join(c if c.isalnum() else "-" for c in name)
        runs = [
            train(args.runs / f"{folder}-{seed}", CONFIG, *shared, *VARIATIONS[name], f"train.seed={seed}")
            for seed in range(1, args.seeds + 1)
        ]
        losses = summary([run.last for run in runs])
        settings, parameters = list(VARIATIONS[name]), runs[0].parameters
        rows.append({"variation": name, "settings": settings, "parameters": parameters, "valid_loss": losses})
    result = new_result(overrides=args.overrides, rows=rows)
    save("variations", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return each variation compared with the first row; and the seeds of the unchanged recipe."""
    first, rows = result["rows"][0], []
    for row in result["rows"]:
        gap = row["valid_loss"]["mean"] - first["valid_loss"]["mean"]
        rows.append([row["variation"], f"{row['parameters']:,}", show_seeds(row["valid_loss"]), f"{gap:+.4f}"])
    headings = ["variation", "parameters", "validation loss: mean (min to max)", "difference from the first row"]
    note = f"{len(first['valid_loss']['seeds'])} seeds per row; {about_machine(result)}."
    tables = {"variations": [table(headings, rows, note)]}
    if first["variation"] == "nanoGPT's recipe":
        updates = load_settings(RunConfig, ROOT / "configs" / f"{CONFIG}.yaml", result["overrides"]).train.max_steps
        # a token is a character
        seeds = [(seed, loss, loss / math.log(2)) for seed, loss in enumerate(first["valid_loss"]["seeds"], start=1)]
        training = [f"{updates:,} updates, time not measured"] * len(seeds)
        tables["language"] = [seed_table(CONFIG, seeds, training, about_machine(result))]
    return tables


if __name__ == "__main__":
    run_command(main)
