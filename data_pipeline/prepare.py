"""Prepare the data of a configuration ahead of training: load, filter and tokenize, and print what was dropped.

Training does the same if it does not find the prepared data in the cache, or finds them damaged. The command reads only
the section `data`. Several hosts that run the same command at once, with `data.cache_dir` on a disk that they share,
prepare a large corpus together.
"""

import os
from pathlib import Path

from common.arguments import settings_parser
from common.command import run_command
from common.settings import load_section
from data_pipeline.config import DataConfig


def main() -> None:
    """Read the command line, prepare the data, and print a summary."""
    parser = settings_parser(__doc__, DataConfig, "data")
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that filter and tokenize a large corpus (default: number of CPU cores)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every byte of data above 4 GB in the cache with their checksums, not only a sample",
    )
    args = parser.parse_intermixed_args()
    # Imported after the options are read: --help does not need NumPy.
    from data_pipeline.prepared_data import prepare

    config = load_section(DataConfig, "data", args.config, args.overrides)
    prepared = prepare(config, Path(config.cache_dir), args.threads, every_byte=args.verify)
    print(prepared.summary())
    print(f"{prepared.sizes()} in {prepared.folder}")
    if args.verify:
        print("every byte of these data matches their checksums")


if __name__ == "__main__":
    run_command(main)
