"""Make the model folder again from other checkpoints: `python -m train.average runs/x --last 5` (section 6.1)."""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from configs import cli
from train.config import TrainConfig
from train.model_folder import write_model_folder


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, with checkpoints/")
    which = parser.add_mutually_exclusive_group()
    default = TrainConfig().average_last
    which.add_argument("--last", type=int, default=default, metavar="K", help=f"mean of the last K (default {default})")
    which.add_argument("--best", action="store_true", help="the one with the lowest validation loss")
    parser.add_argument("--out", type=Path, help="write the model folder here instead of into the run folder")
    args = parser.parse_args()
    if args.last < 1:
        raise ValueError(f"--last is {args.last}; it must be at least 1")
    origin = write_model_folder(args.run, args.last, args.best, args.out)
    print(f"{args.out or args.run} holds {origin}")


if __name__ == "__main__":
    cli.run(main)
