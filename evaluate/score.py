"""Print how probable translations are: python -m evaluate.score --model runs/x --source test.en --target test.de

Standard output gets one JSON object per sentence pair, in order. Standard error gets a summary.
"""

import argparse
import json
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand
from common.text_input import check_equal_lines, read_all_lines
from evaluate.config import DecodeConfig
from evaluate.options import add_ensemble, add_languages

if TYPE_CHECKING:
    from evaluate.scorer import Score


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        description="Print the natural log of the probability that a model gives to translations, by forced decoding. "
        "A JSON object per sentence pair contains log_prob, and count: the number of tokens, EOS included.",
        epilog="The tokenizer splits the texts into tokens. A search may have produced the same text from other "
        "tokens: python -m transformer.translate --json --token-scores prints the scores of its own tokens.",
    )
    add_ensemble(parser, required=True)
    add_languages(parser)
    files = "text file (plain, .gz, .xz or .zst; - is standard input) with"
    parser.add_argument("--source", type=expand, required=True, help=f"{files} one sentence per line")
    parser.add_argument("--target", type=expand, required=True, help=f"{files} the translation of each line")
    parser.add_argument("--tokens", action="store_true", help="add text, id and log_prob of each token")
    size = f"size of a batch in tokens of sources and targets (default: {DecodeConfig.batch_tokens})"
    parser.add_argument("--batch-tokens", type=int, default=DecodeConfig.batch_tokens, help=size)
    return parser.parse_args()


def main() -> None:
    """Score the sentence pairs of two files."""
    args = parse_args()
    from evaluate.scorer import Scorer  # imports PyTorch, which --help does not need
    from evaluate.translator import Translator

    config = replace(DecodeConfig(), batch_tokens=args.batch_tokens)
    sources, targets = read_all_lines(args.source), read_all_lines(args.target)
    check_equal_lines(args.source, len(sources), args.target, len(targets))
    if not sources:
        raise InputError(f"{args.source} is empty. Give a file with at least one sentence.")
    translator = Translator.from_pretrained(
        [args.model, *args.others], config, ensemble_mean=args.ensemble_mean,
        source_lang=args.source_lang, target_lang=args.target_lang)  # fmt: skip
    scores = Scorer(translator).score(sources, targets, progress=True)
    for score in scores:
        line: dict[str, object] = {"log_prob": score.log_prob, "count": len(score.tokens)}
        if args.tokens:
            line["tokens"] = score.details(translator.tokenizer)
        print(json.dumps(line, ensure_ascii=False))
    sys.stdout.flush()
    print(summary(scores), file=sys.stderr)


def summary(scores: "list[Score]") -> str:
    """Return numbers of pairs and tokens, mean log-probability per token, and perplexity, as one line."""
    tokens = sum(len(score.tokens) for score in scores)
    mean = math.fsum(score.log_prob for score in scores) / max(1, tokens)
    return (
        f"{len(scores)} pairs, {tokens} tokens with EOS: log-probability {mean:.4f} per token, "
        f"perplexity {math.exp(-mean):.4f}"
    )


if __name__ == "__main__":
    run_command(main)
