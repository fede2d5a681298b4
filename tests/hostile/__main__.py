"""Run all hostile inputs: python -m tests.hostile [--every N] [--only TEXT] [--list].

Each input runs in a process of its own, with 8 GB of address space and a time limit, in a new folder. An input is wrong
if it ends in a traceback, a signal or a hang, takes more than 2 GB of memory, prints more than one sentence of error or
a raw control character, writes a byte outside its own folder, or is accepted although it must be refused, or the other
way round. Exit status 1 if one input is wrong.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.hostile.inputs import INPUTS
from tests.hostile.runner import make_base, run_input


def main() -> None:
    """Read the command line, run the inputs and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run only each Nth input")
    parser.add_argument("--only", default="", metavar="TEXT", help="run only inputs whose name contains TEXT")
    parser.add_argument("--list", action="store_true", help="print the names and commands, and run nothing")
    args = parser.parse_args()
    chosen = [one for one in INPUTS[:: args.every] if args.only in one.name]
    if args.list:
        print("\n".join(f"{one.name}: {one.command}" for one in chosen))
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_HOME"] = str(Path(folder, "hf"))
        base = make_base(Path(folder, "base"))
        results = [run_input(one, base, Path(folder, f"{number:03}")) for number, one in enumerate(chosen)]
    wrong = [result for result in results if result.faults]
    print(f"{len(results)} inputs, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
