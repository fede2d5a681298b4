"""Make the model folder again from other checkpoints: `python -m train.average runs/x --last 5` (section 6.1)."""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.command import run_command
from common.errors import InputError
from common.files import lock
from common.settings import load_saved_settings
from train.config import RunConfig
from train.run.model_folder import write_model_folder


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, with checkpoints/")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=int, metavar="K", help="mean of the last K (default: the run's)")
    which.add_argument("--best", action="store_true", help="the one with the lowest validation loss")
    parser.add_argument("--out", type=Path, help="write the model folder here instead of into the run folder")
    args = parser.parse_args()
    if args.last is not None and args.last < 1:
        raise InputError(f"--last is {args.last}; it must be at least 1")
    if not (args.run / "config.yaml").is_file():
        raise FileNotFoundError(f"{args.run} is not the folder of a run: it has no config.yaml")
    last = args.last or load_saved_settings(RunConfig, args.run / "config.yaml").checkpoints.average_last
    with lock(args.run / ".lock"):
        origin = write_model_folder(args.run, last, args.best, args.out)
    print(f"{args.out or args.run} holds {origin}")


if __name__ == "__main__":
    run_command(main)
