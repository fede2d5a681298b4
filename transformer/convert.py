"""Convert a GPT-2 or a Marian model of the library `transformers` to a model folder, and back; or store in 8 bits.

python -m transformer.convert --from marian Helsinki-NLP/opus-mt-en-de models/opus
python -m transformer.convert --to marian models/opus models/opus-transformers
python -m transformer.convert --to pegasus transformer/included/en-de models/en-de-transformers
python -m transformer.convert --to int8 models/opus models/opus-int8
"""

import argparse
import sys

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand

READERS = ("gpt2", "marian")
WRITERS = (*READERS, "pegasus", "int8")


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if it has the form of earlier versions."""
    parser = CommandParser(description="Convert a model of the library transformers to a model folder, or back.")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", dest="reader", choices=READERS, help="read this format, write a model folder")
    direction.add_argument(
        "--to",
        dest="writer",
        choices=WRITERS,
        help="read a model folder, write this format; marian is for post-norm and pegasus for pre-norm translation "
        "models; int8 is a model folder with weights in 8 bits, a quarter of the size",
    )
    parser.add_argument("source", help="folder, or a name on the Hugging Face Hub such as gpt2")
    parser.add_argument("output", type=expand, help="folder to write; it must be new or empty")
    if sys.argv[1:2] in (["import"], ["export"]):
        parser.error(f"write --{'from' if sys.argv[1] == 'import' else 'to'} gpt2 instead of {sys.argv[1]}")
    return parser.parse_args()


def main() -> None:
    """Read the command line and write the folder."""
    args = parse_args()
    if args.output.exists() and not (args.output.is_dir() and not any(args.output.iterdir())):
        raise InputError(f"{args.output} already exists and is not an empty folder. Give another folder to write.")
    # Imported after the options are read: --help does not need PyTorch.
    from evaluate.conversion import export_gpt2, export_marian, export_pegasus, import_gpt2, import_marian
    from transformer.model import count_parameters
    from transformer.pretrained import save_int8

    readers = {"gpt2": import_gpt2, "marian": import_marian}
    writers = {"gpt2": export_gpt2, "marian": export_marian, "pegasus": export_pegasus, "int8": save_int8}
    convert = readers[args.reader] if args.reader else writers[args.writer]
    model = convert(args.source, args.output)
    print(f"wrote {args.output}: {count_parameters(model):,} parameters of {args.source}")


if __name__ == "__main__":
    run_command(main)
