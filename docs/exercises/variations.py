"""Exercise 4: does one change from later papers help? Each is one setting; the rest of the recipe stays.

    python docs/exercises/variations.py tinyshakespeare.txt

trains nanoGPT's recipe for a CPU and each of its variations with three seeds, and writes
benchmarks/results/variations.json. A run that has ended is not trained again.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from docs.exercises.runs import summary, train

SWIGLU = ("model.activation=swiglu", "model.d_ff=344")  # three matrices of two thirds: as many parameters as two
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
    """Read the command line, train what is missing, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="text file to learn from; its last tenth is for validation")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variation")
    parser.add_argument("--runs", type=Path, default=Path("runs/variations"), help="folder for the runs")
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, help="some of the variations")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="for every run")
    args = parser.parse_intermixed_args()
    shared = (f"data.train={args.text.resolve()}", *args.overrides)
    rows = []
    for name in args.only or VARIATIONS:
        folder = "".join(c if c.isalnum() else "-" for c in name)
        outcomes = [
            train(
                args.runs / f"{folder}-{seed}",
                "gpt_shakespeare_char",
                *shared,
                *VARIATIONS[name],
                f"train.seed={seed}",
            )
            for seed in range(1, args.seeds + 1)
        ]
        rows.append(
            {
                "variation": name,
                "settings": list(VARIATIONS[name]),
                "parameters": outcomes[0].parameters,
                "valid_loss": summary([outcome.last for outcome in outcomes]),
            }
        )
    write_result("variations", {"machine": describe_machine(), "overrides": args.overrides, "rows": rows})


if __name__ == "__main__":
    run_command(main)
