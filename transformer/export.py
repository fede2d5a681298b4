"""python -m transformer.export --to ctranslate2 --model runs/x --output x-ct2: the model for another runtime."""

import argparse
from pathlib import Path

from common.command import run_command
from transformer.formats.ctranslate2 import COMPUTE_TYPES, PENALTY_NOTE, export_ctranslate2


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer.export", description="Write a model for another runtime."
    )
    parser.add_argument("--to", required=True, choices=["ctranslate2"], help="the runtime")
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--output", required=True, type=Path, help="new folder; written whole or not at all")
    parser.add_argument(
        "--compute-type",
        default="float32",
        choices=COMPUTE_TYPES,
        help="how the weights are stored (default: %(default)s); int8 takes a quarter of the space",
    )
    return parser.parse_args()


def main() -> None:
    """Export, and say what is different over there."""
    args = parse_args()
    output = export_ctranslate2(args.model, args.output, args.compute_type)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    print(f"{output}: {size:.1f} MB, {args.compute_type}. Its README.md says how to use it.")
    print(PENALTY_NOTE)


if __name__ == "__main__":
    run_command(main)
