"""Compute a failed update again: `python -m train.replay runs/x/failed_updates/update-00000007`.

The replay starts from the weights before the update and uses the same micro-batches and dropout seeds. It runs in one
process on one device, without torch.compile. If the run had one device too, the results are bit-identical. The replay
writes nothing.
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand


def main() -> None:
    """Read the command line, compute the update again, and print the comparison."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=expand, help="folder of a failed update, in runs/x/failed_updates/")
    folder = parser.parse_args().folder
    # Imported after the options are read: --help does not need PyTorch.
    from train.run.failed_update import read_report
    from train.run.recompute import recompute

    report = read_report(folder)
    print(recompute(folder).compare(report))


if __name__ == "__main__":
    run_command(main)
