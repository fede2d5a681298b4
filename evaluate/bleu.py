"""Translate test sets and print how good the translations are: python evaluate/bleu.py --model runs/x.

With `accelerate launch evaluate/bleu.py …` the processes share the lines. With --hypotheses instead of --model, the
command scores an existing translation.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand
from evaluate.metrics.bleu_tokenizer import TOKENIZERS
from evaluate.options import add_compute_type, add_decode_options, add_ensemble, add_languages, decode_config


def parse_args() -> argparse.Namespace:
    """Return the arguments. Exit with status 2 if options do not go together."""
    parser = CommandParser(
        description="Translate test sets and report sacreBLEU, chrF, TER and the paper's own BLEU, or score an "
        "existing translation. Without --source and --test-set: the corpora of data.test in the run's config.yaml."
    )
    add_ensemble(parser)
    add_languages(parser)
    parser.add_argument("--hypotheses", type=expand, help="score this translation instead of translating with a model")
    parser.add_argument(
        "--source", type=expand, help="text to translate (plain, .gz, .xz or .zst; - is standard input)"
    )
    parser.add_argument("--reference", type=expand, nargs="+", action="extend", help="its reference translations")
    parser.add_argument("--test-set", help="sacreBLEU's name of a test set, such as wmt14/full")
    parser.add_argument("--langpair", help="languages of the test set or files, such as en-de (default: the model's)")
    parser.add_argument("--baseline", type=expand, help="NAME.json of an earlier report on the same lines, to test")
    parser.add_argument("--output", type=expand, help="folder for the report (default: eval in the model folder)")
    parser.add_argument(
        "--tokenize", choices=TOKENIZERS, help="BLEU's tokenizer; flores200: spBLEU (default: by language)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="file for the figures, one JSON object per test set; - is standard output"
    )
    parser.add_argument("--comet", nargs="?", const="comet-score", metavar="COMMAND", help="also run this for COMET")
    parser.add_argument("--keep-unicode", action="store_true", help="compare texts as they are, not in Unicode NFC")
    add_compute_type(parser, "float32")  # figures do not depend on the machine
    add_decode_options(parser)
    args = parser.parse_args()
    if (args.model is None) == (args.hypotheses is None):
        parser.error("give either --model or --hypotheses")
    if args.reference and args.test_set:
        parser.error("give either --source and --reference or --test-set")
    if args.hypotheses and not (args.reference or args.test_set):
        parser.error("--hypotheses needs --reference or --test-set")
    if (args.source is None) != (args.reference is None) and not (args.hypotheses and args.reference):
        parser.error("give --source and --reference together")
    return args


def main() -> None:
    """Evaluate a model or an existing translation."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from evaluate.evaluation import ReportOptions, evaluate_model, evaluate_text
    from evaluate.test_sets import Selection, parse_languages

    languages = None if args.langpair is None else parse_languages(args.langpair)
    selection = Selection(args.source, tuple(args.reference or ()), args.test_set, languages)
    options = ReportOptions(args.baseline, args.output, args.tokenize, args.json, args.keep_unicode, args.comet)
    if args.model is None:
        evaluate_text(args.hypotheses, selection, options)
    else:
        models, languages = [args.model, *args.others], (args.source_lang, args.target_lang)
        change = partial(decode_config, args)
        evaluate_model(models, selection, change, args.compute_type, options, args.ensemble_mean, languages)


if __name__ == "__main__":
    run_command(main)
