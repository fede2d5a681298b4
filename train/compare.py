"""Compare runs on one page: settings, curves, final figures, translations side by side, and paired significance tests.

python -m train.compare runs/a runs/b runs/c

The first run is the baseline. Runs that differ only in the seed form a group, which is shown with mean and spread. The
tests use the translations of the evaluation reports in the run folders (evaluate/bleu.py writes them).
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if options exclude each other."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=expand, metavar="RUN", help="run folders; the first is the baseline")
    parser.add_argument(
        "--html", type=expand, default="compare.html", metavar="FILE", help="page to write (default: %(default)s)"
    )
    parser.add_argument(
        "--validation", action="store_true", help="translate the validation set with each model first, and test on it"
    )
    parser.add_argument("--source", type=expand, help="source of the test set (default: data.test of the runs)")
    parser.add_argument("--reference", type=expand, nargs="+", action="extend", help="its reference translations")
    parser.add_argument("--test-set", help="sacreBLEU's name of the test set, such as wmt14/full")
    parser.add_argument("--langpair", help="languages of --test-set, such as en-de (default: those of the first run)")
    args = parser.parse_args()
    if (args.source and not args.reference) or (args.reference and args.test_set):
        parser.error("give --reference, with or without --source, or --test-set")
    return args


def main() -> None:
    """Print the comparison and write the page."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from common.files import write_text
    from evaluate.test_sets import Selection, parse_languages
    from train.comparison.comparison import compare_runs
    from train.comparison.page import html_comparison
    from train.comparison.text import comparison_text

    languages = None if args.langpair is None else parse_languages(args.langpair)
    selection = Selection(args.source, tuple(args.reference or ()), args.test_set, languages)
    found = compare_runs(args.runs, selection, args.validation)
    print(comparison_text(found))
    write_text(args.html, html_comparison(found))
    print(f"\nwritten to {args.html}")


if __name__ == "__main__":
    run_command(main)
