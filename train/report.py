"""Write the report of a run again, from the files of its run folder: report.html, a page with curves and samples.

python -m train.report runs/x

Training writes it after each validation. A run that is in progress may be given.
"""

import argparse
from pathlib import Path

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand


def main() -> None:
    """Read the command line and write the page."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=expand, help="run folder")
    args = parser.parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from train.run.folder import reject_links_in_run
    from train.run.report import write_report

    run: Path = args.run
    if not (run / "config.yaml").is_file():
        raise FileNotFoundError(f"{run} is not a run folder: it has no config.yaml")
    reject_links_in_run(run)
    print(f"{write_report(run)} written")


if __name__ == "__main__":
    run_command(main)
