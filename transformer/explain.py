"""Show how a model translates a sentence or continues a text: python -m transformer.explain "A sentence."

Standard output lists the operations of the forward pass, the probabilities of each token, and the search.
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand, write_text
from common.text import show_controls
from evaluate.options import add_decode_options, add_direction, decode_config


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if options exclude each other."""
    parser = CommandParser(
        description="Show how a model translates a sentence or, if it is a GPT, continues a text: each operation with "
        "its place in the paper, shape and values, the probabilities of each token, and the steps of the search.",
    )
    parser.add_argument("sentence", metavar="SENTENCE", help="sentence to translate, or text to continue")
    add_direction(parser)
    parser.add_argument("--html", type=expand, metavar="FILE", help="write an interactive page instead of text")
    parser.add_argument(
        "--figure", type=expand, metavar="FILE", help="draw an attention as the paper does (.png or .svg)"
    )
    figure = parser.add_argument_group("options of --figure")
    figure.add_argument(
        "--attention",
        choices=("encoder", "decoder", "cross"),
        help="which attention (default: encoder; decoder for a GPT)",
    )
    figure.add_argument("--layer", type=int, metavar="N", help="layer, from 1 (default: the last one)")
    figure.add_argument(
        "--head",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="head, from 1; may be repeated (default: all)",
    )
    figure.add_argument("--word", help="word whose attention is drawn (default: all words)")
    parser.add_argument("--max-tokens", type=int, default=20, help="tokens that a GPT adds (default: 20)")
    add_decode_options(parser)
    args = parser.parse_args()
    if args.figure is None and (args.attention or args.layer or args.head or args.word):
        parser.error("--attention, --layer, --head and --word need --figure")
    return args


def main() -> None:
    """Explain the sentence that the command line names."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from evaluate.explain.explanation import explain
    from evaluate.explain.figure import FigureChoice, check_figure, draw_figure
    from evaluate.explain.page import html_explanation
    from evaluate.explain.text import text_lines
    from evaluate.model_folders import find_model, read_decode_config

    if args.figure is not None:
        check_figure(args.figure)
    folder = find_model(args.model, args.source_lang, args.target_lang)
    config = decode_config(args, read_decode_config(folder))
    explanation = explain(folder, args.sentence, config, args.max_tokens, (args.source_lang, args.target_lang))
    if args.html is not None:
        write_text(args.html, html_explanation(explanation))
        print(f"wrote {args.html}")
    if args.figure is not None:
        draw_figure(explanation, FigureChoice(args.attention, args.layer, tuple(args.head), args.word), args.figure)
        print(f"wrote {args.figure}")
    if args.html is None and args.figure is None:
        print("\n".join(map(show_controls, text_lines(explanation))))


if __name__ == "__main__":
    run_command(main)
