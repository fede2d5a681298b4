"""Parse sentences into constituency trees: python -m transformer.parse --model runs/parsing_craft "The cat sat ."

Sentences come from the command line, from a file (--input), or from standard input, one per line. Their words are
separated by spaces, as in the treebank of the model: punctuation and parts such as "n't" are words of their own. Every
line gives one line with its tree in brackets, an empty line an empty one. At a terminal, the tree is drawn below it.
"""

import argparse
import sys
from pathlib import Path

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand, open_output, write_text
from evaluate.options import add_parser_options, decode_config


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if options exclude each other."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="sentence to parse, words separated by spaces")
    parser.add_argument(
        "--input",
        type=expand,
        help="text file (plain, .gz, .xz or .zst) with one sentence per line, or a treebank whose words are parsed",
    )
    parser.add_argument("--output", type=expand, help="output file (plain, .gz, .xz or .zst), written atomically")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="file for a picture of the trees of SENTENCE …")
    parser.add_argument(
        "--no-constraint",
        dest="constrained",
        action="store_false",
        help="search without the rules of a tree; a line is empty if the output is none",
    )
    add_parser_options(parser, required=True)
    args = parser.parse_args()
    if args.sentences and args.input:
        parser.error("give either sentences or --input")
    if args.svg and not args.sentences:
        parser.error("--svg draws the sentences of the command line. Give one")
    return args


def main() -> None:
    """Parse the sentences that the command line names."""
    args = parse_args()  # before PyTorch is imported, which --help does not need
    from common.progress_bar import shows_progress_to
    from common.text import name_lines
    from data_pipeline.trees import bracketed
    from evaluate.model_folders import read_decode_config
    from evaluate.parser import Parser, find_parser, parse_groups, read_sentences
    from evaluate.tree_picture import TreePicture, indented

    config = decode_config(args, read_decode_config(find_parser(args.model)))
    groups = read_sentences(args.sentences, args.input)
    parser = Parser.from_pretrained(
        [args.model, *args.others], config, None, args.compute_type, args.constrained, args.ensemble_mean)  # fmt: skip
    drawn, no_tree = [], []
    with open_output(args.output) as out:
        for found in parse_groups(parser, groups, progress=shows_progress_to(args.output)):
            for number, words, tree in found:
                print("" if tree is None else bracketed(tree), file=out)
                if tree is not None and out.isatty():
                    print(indented(tree), file=out)
                no_tree += [number] if words and tree is None else []
            out.flush()
            drawn += [tree for _, _, tree in found if tree is not None and args.svg]
    if args.svg:
        write_text(args.svg, TreePicture(*drawn).svg())
    if no_tree:
        print(f"note: without constraint, {name_lines(no_tree)} gave no tree; the output is empty", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
