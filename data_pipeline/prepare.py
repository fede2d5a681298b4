"""Entry: python -m data_pipeline.prepare --config configs/x.yaml [data.field=value …]

Loads, filters and tokenises the training and validation data ahead of training, and says what was dropped.
Training does the same by itself where it finds nothing prepared.
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.command import run_command
from common.settings import load_settings
from data_pipeline.prepared_data import prepare
from train.config import RunConfig


def main() -> None:
    """Read the command line, prepare, and say what was dropped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--config", type=Path, help="YAML file; without it, the paper's base")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for tokenising")
    parser.add_argument("overrides", nargs="*", metavar="data.field=value")
    args = parser.parse_intermixed_args()
    config = load_settings(RunConfig, args.config, args.overrides).data
    prepared = prepare(config, Path(config.cache_dir), args.threads, quiet=False)
    print(prepared.summary())
    print(f"{prepared.sizes()} in {prepared.folder}")


if __name__ == "__main__":
    run_command(main)
