"""python -m evaluate.score --model runs/x --source test.en --target test.de: how probable translations are.

One JSON object a pair on standard output, in order; the sum of all on standard error.
"""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from common.command import run_command
from common.errors import InputError
from data_pipeline.sources.tables import read_lines
from evaluate.config import DecodeConfig
from evaluate.scorer import Score, Scorer
from evaluate.translator import Translator
from transformer.prepacked import prepack


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Natural log of the probability that a model gives to translations, by forced decoding, with the "
        "EOS that ends them. A JSON object a pair: log_prob, and count, its tokens.",
        epilog="Texts are scored as the tokenizer cuts them into tokens. A search may have spelled the same text with "
        "others: `python -m transformer.translate --json --token-scores` gives the scores of its own tokens.",
    )
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--source", type=Path, required=True, help="text file, one sentence a line, plain, .gz or .xz")
    parser.add_argument("--target", type=Path, required=True, help="its translation, line by line")
    parser.add_argument("--tokens", action="store_true", help="also the text, id and log_prob of each token")
    parser.add_argument("--batch-tokens", type=int, help="tokens of sources and targets in one batch")
    return parser.parse_args()


def main() -> None:
    """Score what the command line says."""
    args = parse_args()
    config = DecodeConfig()
    if args.batch_tokens is not None:
        config = replace(config, batch_tokens=args.batch_tokens)
    sources, targets = read_pairs(args.source, args.target)
    translator = Translator.from_pretrained(args.model, config)
    prepack(translator.model)
    scores = Scorer(translator).score(sources, targets, progress=sys.stderr.isatty())
    for score in scores:
        about: dict[str, object] = {"log_prob": score.log_prob, "count": len(score.tokens)}
        if args.tokens:
            about["tokens"] = score.details(translator.tokenizer)
        print(json.dumps(about, ensure_ascii=False))
    sys.stdout.flush()
    print(summary(scores), file=sys.stderr)


def read_pairs(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """The lines of both files. Raises ValueError where there are none, or not as many in the one as in the other."""
    sources, targets = list(read_lines(source)), list(read_lines(target))
    if len(sources) != len(targets):
        raise InputError(
            f"{source} has {len(sources)} lines and {target} has {len(targets)}: "
            "each source line needs its translation on the same line"
        )
    if not sources:
        raise InputError(f"{source} is empty: there is nothing to score")
    return sources, targets


def summary(scores: list[Score]) -> str:
    """Pairs, tokens with EOS, mean log-probability of a token and perplexity, for a person."""
    tokens = sum(len(score.tokens) for score in scores)
    mean = math.fsum(score.log_prob for score in scores) / max(1, tokens)
    return (
        f"{len(scores)} pairs, {tokens} tokens with EOS: log-probability {mean:.4f} per token, "
        f"perplexity {math.exp(-mean):.4f}"
    )


if __name__ == "__main__":
    run_command(main)
