"""Command-line options of everything that decodes."""

import argparse
from dataclasses import fields, replace

from evaluate.config import DecodeConfig

_HELP = {
    "beam": "hypotheses kept per sentence; 1 is greedy search",
    "alpha": "exponent of the length penalty ((5 + n) / 6)^alpha",
    "max_extra": "output is at most this many tokens longer than the source",
    "batch_tokens": "padded source tokens times beam in one batch",
}


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    """--beam, --alpha, --max-extra and --batch-tokens; unset, the run's own settings hold."""
    for field in fields(DecodeConfig):
        kind = float if field.name == "alpha" else int
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=kind, help=f"{_HELP[field.name]} (default: the run's, or {field.default})")


def decode_config(args: argparse.Namespace, base: DecodeConfig) -> DecodeConfig:
    """`base` with the options that were given. Raises ValueError for one out of range."""
    given = {field.name: getattr(args, field.name) for field in fields(DecodeConfig)}
    return replace(base, **{name: value for name, value in given.items() if value is not None})
