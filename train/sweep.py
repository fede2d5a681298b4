"""Train all YAML files of a folder with several seeds, score them, and write a report:

    python -m train.sweep configs/table3_small --seeds 3
    python -m train.sweep configs/demo.yaml --set model.n_layers=1,2,4 --seeds 2 train.max_steps=400

Each file is a row; `--set` adds a row per value. `common.yaml` in the folder has settings of all rows. The same command
resumes a sweep: what is done is skipped, and a run that was stopped continues. Several processes may share a sweep. The
report is report.md, report.csv and report.svg in the folder of the runs, and contains what is finished.
"""

import argparse
import sys
from pathlib import Path

from common.arguments import CommandParser, add_overrides
from common.command import run_command
from common.files import expand


def parse_args() -> argparse.Namespace:
    """Return the arguments."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=expand, help="folder with YAML files, or one YAML file")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds: 1, 2, … (default: 1)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=1,2", help="a setting with several values")
    parser.add_argument("--runs", type=expand, help="folder of the runs (default: runs/ and the name of the folder)")
    parser.add_argument("--at-once", type=int, help="runs in parallel (default: the number of GPUs, or 1)")
    parser.add_argument("--base", help="row that the others are compared with (default: base, or the first row)")
    parser.add_argument("--source", type=expand, help="text to translate (default: the run's data.test)")
    parser.add_argument("--reference", type=expand, nargs="+", action="extend", help="its reference translations")
    parser.add_argument("--test-set", help="sacreBLEU's name of a test set, such as wmt13")
    parser.add_argument("--langpair", help="languages of the test set or files, such as en-de (default: the model's)")
    parser.add_argument("--report", action="store_true", help="only write the report on what is finished")
    add_overrides(parser, "settings of all rows; they replace those of the files")
    args = parser.parse_intermixed_args()
    if args.seeds < 1 or (args.at_once is not None and args.at_once < 1):
        parser.error("--seeds and --at-once must be at least 1")
    if (args.source is None) != (args.reference is None) or (args.source and args.test_set):
        parser.error("give --source and --reference together, or --test-set")
    return args


def main() -> None:
    """Run the experiments and print the report."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    import torch

    from evaluate.test_sets import Selection, find_test_set, parse_languages
    from train.experiment_report import PAPER, make_rows, write_report
    from train.experiments import Sweep, plan
    from train.sweep_progress import Progress

    languages = None if args.langpair is None else parse_languages(args.langpair)
    selection = Selection(args.source, tuple(args.reference or ()), args.test_set, languages)
    if args.source:
        find_test_set(selection, None)  # reads the files, so that a mistake is reported before training
    runs = args.runs or Path("runs") / args.folder.stem
    experiments = plan(args.folder, runs, range(1, args.seeds + 1), args.set, args.overrides, selection)
    failed = []
    if not args.report:
        gpus = torch.cuda.device_count()
        with Progress(sys.stderr) as progress:
            failed = Sweep(experiments, progress.show).run(args.at_once or max(1, gpus), gpus)
    rows = make_rows(experiments, args.base)
    if rows:
        print(write_report(rows, args.base or experiments[0].row, args.folder / PAPER, runs))
        print(f"written to {runs / 'report.md'}, report.csv and report.svg")
    else:
        print(f"no run in {runs} is finished", file=sys.stderr)
    for one in failed:
        print(f"error: {one.name} failed; its output is in {one.log_file}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
