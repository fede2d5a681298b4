"""Rebuild the model folder of a run from other checkpoints (section 6.1), or average several models.

python -m train.average runs/x --last 3
python -m train.average runs/x --best --out models/x
python -m train.average runs/seed-1 runs/seed-2 runs/seed-3 --out models/mean
"""

import argparse
from pathlib import Path

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand, lock


def main() -> None:
    """Read the command line and write the folder."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", type=expand, metavar="run", help="run folder with checkpoints/; or several model folders"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--last", type=int, metavar="K", help="average the last K checkpoints (default: checkpoints.average_last)"
    )
    which.add_argument("--best", action="store_true", help="use the checkpoint with the lowest validation loss")
    parser.add_argument("--out", type=expand, metavar="FOLDER", help="folder to write (default: the run folder)")
    args = parser.parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.run.folder import reject_links_in_run
    from train.run.model_folder import write_model_folder

    if len(args.runs) > 1:
        average_models(args.runs, args.out, args.last is not None or args.best)
        return
    if args.last is not None and args.last < 1:
        raise InputError(f"--last is {args.last}; it must be at least 1")
    (run,) = args.runs
    if not (run / "config.yaml").is_file():
        raise FileNotFoundError(f"{run} is not a run folder: it has no config.yaml")
    reject_links_in_run(run)  # before the lock file is opened
    with lock(run / ".lock"):
        origin = write_model_folder(run, args.last, args.best, args.out)
    print(f"{args.out or run} contains {origin}")


def average_models(models: list[Path], out: Path | None, chooses_checkpoints: bool) -> None:
    """Write the mean of several models. Raises InputError if an option does not fit."""
    from transformer.pretrained import save_mean

    if out is None or chooses_checkpoints:
        raise InputError("the mean of several models needs --out, and takes neither --last nor --best")
    save_mean(models, out)
    print(f"{out} contains the mean of the weights of {len(models)} models")


if __name__ == "__main__":
    run_command(main)
