"""Score parsed trees, or a parser: python -m evaluate.parsing test.trees.gz --model runs/parsing_craft

Standard output gets precision, recall and F1 of labelled brackets as EVALB counts them (`evaluate.metrics.parsing_f1`).
"""

import argparse
import json

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand
from common.notes import print_note
from data_pipeline.trees import Tree, read_parses, read_trees, simplify
from evaluate.options import add_parser_options, decode_config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        description="Print precision, recall and F1 of the labelled brackets of parsed trees, counted as the program "
        "EVALB counts them with its file COLLINS.prm: of all sentences, of those with at most 40 words, by length and "
        "by label.",
        epilog="A sentence does not count if words with the tag of punctuation in one tree have another tag in the "
        "other. With --gold-tags every sentence with a parse counts.",
    )
    bracketed = "bracketed trees (plain, .gz, .xz or .zst)"
    parser.add_argument("gold", type=expand, help=f"treebank: {bracketed}")
    parsed = f"parsed trees, unless --model is given: {bracketed}, one per line; an empty line if there is no parse"
    parser.add_argument("parsed", nargs="?", type=expand, help=parsed)
    parser.add_argument(
        "--gold-tags", action="store_true", help="replace the tags of the parsed trees by the gold tags"
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    add_parser_options(parser, required=False)
    args = parser.parse_args()
    if (args.parsed is None) == (args.model is None):
        parser.error("give either the file PARSED or --model")
    return args


def main() -> None:
    """Score the trees of two files."""
    args = parse_args()  # before packages are imported that --help does not need
    from evaluate.metrics.parsing_f1 import score_trees
    from evaluate.report.parsing_text import parsing_json, parsing_text

    gold = [simplify(tree) for tree in read_trees(args.gold)]
    if not any(gold):
        raise InputError(f"{args.gold} has no trees with words. Give a treebank")
    parsed = _parse(args, gold) if args.model else [tree and simplify(tree) for tree in read_parses(args.parsed)]
    if len(gold) != len(parsed):
        raise InputError(
            f"{args.gold} has {len(gold):,} trees and {args.parsed} has {len(parsed):,} lines. Give a file with one "
            "line for each tree"
        )
    if without := gold.count(None):
        print_note(f"note: {args.gold}: trees without words, which are not scored: {without:,}")
    pairs = [(tree, other) for tree, other in zip(gold, parsed, strict=True) if tree is not None]
    report = score_trees([tree for tree, _ in pairs], [other for _, other in pairs], args.gold_tags)
    print(json.dumps(parsing_json(report), indent=2) if args.json else parsing_text(report))


def _parse(args: argparse.Namespace, gold: list[Tree | None]) -> list[Tree | None]:
    """Return the trees that a model gives to the words of the gold trees."""
    from evaluate.model_folders import read_decode_config
    from evaluate.parser import Parser, find_parser

    config = decode_config(args, read_decode_config(find_parser(args.model)))
    models = [args.model, *args.others]
    parser = Parser.from_pretrained(models, config, None, args.compute_type, ensemble_mean=args.ensemble_mean)
    return parser.parse([tree.words if tree else [] for tree in gold], progress=True)


if __name__ == "__main__":
    run_command(main)
