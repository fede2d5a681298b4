"""Train a model: `accelerate launch train/train.py --config configs/x.yaml [section.field=value ...]`.

Without --config, it trains the paper's base model on WMT14 English-German. The same command resumes a run.
"""

import sys
from pathlib import Path

if not __package__:  # started by path: put the project's root on sys.path before the project's imports
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.arguments import settings_parser
from common.command import run_command
from train.config import RunConfig


def main() -> None:
    """Read the command line and train."""
    args = settings_parser(__doc__, RunConfig).parse_intermixed_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.loop import train
    from train.size import load_run

    stopped_by = train(*load_run(args.config, args.overrides))
    if stopped_by is not None:
        sys.exit(128 + stopped_by)  # the exit status of a process that a signal ended


if __name__ == "__main__":
    run_command(main)
