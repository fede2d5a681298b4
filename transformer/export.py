"""Write a model for another runtime.

python -m transformer.export --to ctranslate2 --model runs/x --output x-ct2
python -m transformer.export --to argos --model runs/x --output x.argosmodel
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand
from transformer.formats.compute_types import COMPUTE_TYPES


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = CommandParser(description="Write a translation model for another runtime.")
    parser.add_argument("--to", required=True, choices=("ctranslate2", "argos"), help="runtime to export to")
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face Hub")
    parser.add_argument(
        "--output", required=True, type=expand, help="folder to write, or file (argos), which must not exist"
    )
    parser.add_argument(
        "--compute-type",
        default="float32",
        choices=COMPUTE_TYPES,
        help="type of the stored weights (default: %(default)s); int8 needs a quarter of the space of float32",
    )
    return parser.parse_args()


def main() -> None:
    """Export the model. Print its size and notes."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from transformer.formats.argos import ARGOS_NOTE, export_argos
    from transformer.formats.ctranslate2 import PENALTY_NOTE, export_ctranslate2

    export, note = {
        "ctranslate2": (export_ctranslate2, f"Its README.md shows how to use it.\nnote: {PENALTY_NOTE}"),
        "argos": (export_argos, f"\nnote: {ARGOS_NOTE}"),
    }[args.to]
    output = export(args.model, args.output, args.compute_type)
    files = output.iterdir() if output.is_dir() else [output]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"wrote {output}: {size:.1f} MB, {args.compute_type}. {note}".replace(" \n", "\n"))


if __name__ == "__main__":
    run_command(main)
