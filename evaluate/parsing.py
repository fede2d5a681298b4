"""Score parsed trees: python -m evaluate.parsing test.trees.gz parsed.trees

Standard output gets precision, recall and F1 of labelled brackets as EVALB counts them (`evaluate.metrics.parsing_f1`).
"""

import argparse
import json

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand
from common.notes import print_note
from data_pipeline.trees import Tree, read_parses, read_trees, simplify, with_tags
from evaluate.metrics.parsing_f1 import score_trees
from evaluate.report.parsing_text import parsing_json, parsing_text


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
    parser.add_argument("parsed", type=expand, help=f"{bracketed}, one per line; an empty line if there is no parse")
    parser.add_argument(
        "--gold-tags", action="store_true", help="replace the tags of the parsed trees by the gold tags"
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Score the trees of two files."""
    args = parse_args()
    gold = [simplify(tree) for tree in read_trees(args.gold)]
    parsed = [tree and simplify(tree) for tree in read_parses(args.parsed)]
    if len(gold) != len(parsed) or not gold:
        raise InputError(
            f"{args.gold} has {len(gold):,} trees and {args.parsed} has {len(parsed):,} lines. Give a file with one "
            "line for each tree"
        )
    if without := gold.count(None):
        print_note(f"note: {args.gold}: {without:,} trees without words are not scored")
    pairs = [(tree, other) for tree, other in zip(gold, parsed, strict=True) if tree is not None]
    if args.gold_tags:
        pairs = [(tree, _with_gold_tags(other, tree)) for tree, other in pairs]
    report = score_trees([tree for tree, _ in pairs], [other for _, other in pairs])
    print(json.dumps(parsing_json(report), indent=2) if args.json else parsing_text(report))


def _with_gold_tags(parsed: Tree | None, gold: Tree) -> Tree | None:
    """Return a parsed tree with the gold tags; unchanged if it has another number of words, which is an error."""
    return with_tags(parsed, gold.tags) if parsed is not None and len(parsed.words) == len(gold.words) else parsed


if __name__ == "__main__":
    run_command(main)
