"""A GPT-2 of the library `transformers` becomes a model folder of this project, and the other way round.

python -m transformer.convert import gpt2 models/gpt2
python -m transformer.convert export models/gpt2 models/gpt2-transformers
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from common.command import run_command
from common.errors import InputError
from data_pipeline.tokenizers import open_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from transformer.formats.gpt2 import read_gpt2, write_gpt2
from transformer.model import GPT, count_parameters
from transformer.model_card import model_card, public_name
from transformer.pretrained import download, find_folder, load_pretrained, save_pretrained

SOURCE_FILES = ["config.json", "vocab.json", "merges.txt", "tokenizer.json", "model.safetensors", "model-*.safetensors"]


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m transformer.convert",
        description="Turn a GPT-2 of transformers into a model folder of this project, or back.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ours = commands.add_parser("import", help="a GPT-2 of transformers becomes a model folder")
    ours.add_argument("source", help="folder, or a name on the Hugging Face hub, such as gpt2 or gpt2-xl")
    theirs = commands.add_parser("export", help="a model folder becomes a GPT-2 of transformers")
    theirs.add_argument("source", help="model folder, or a name on the Hugging Face hub")
    for command in (ours, theirs):
        command.add_argument("to", type=Path, help="folder to write, which must not hold anything yet")
    args = parser.parse_args()
    if args.to.exists() and not (args.to.is_dir() and next(args.to.iterdir(), None) is None):
        raise InputError(f"{args.to} is there already and is not an empty folder; name another one to write")
    convert = import_gpt2 if args.command == "import" else export_gpt2
    model = convert(args.source, args.to)
    print(f"{args.to} holds the {count_parameters(model):,} parameters of {args.source}")


def import_gpt2(source: str, to: Path) -> GPT:
    """Write the model folder of a GPT-2; returns the model."""
    folder = find_gpt2(source)
    model = read_gpt2(folder)
    with TemporaryDirectory() as work:
        file = Path(work) / "tokenizer.model"
        BytePairTokenizer.from_gpt2_folder(folder, model.config.vocab_size, file)
        origin = (
            f"Converted from `{public_name(source)}`, a GPT-2 (Radford et al., 2019) in the format of the library "
            "transformers. The weights and their licence are those of the source."
        )
        card = model_card("GPT-2", model.config, count_parameters(model), origin)
        save_pretrained(to, model, file, card)
    return model


def export_gpt2(source: str, to: Path) -> GPT:
    """Write what `GPT2LMHeadModel` and `AutoTokenizer` of the library read; returns the model."""
    folder = find_folder(source)
    model, _ = load_pretrained(folder)
    if not isinstance(model, GPT):
        raise InputError(f"{folder} holds a translation model, which is no GPT-2")
    tokenizer = open_tokenizer(folder / "tokenizer.model")
    if not isinstance(tokenizer, BytePairTokenizer):
        raise InputError(
            f"{folder} has a vocabulary other than byte pairs, and a GPT-2 of transformers has no other; "
            "transformer.formats.gpt2.to_gpt2 converts the model alone"
        )
    write_gpt2(to, model, tokenizer.end_id)
    tokenizer.write_gpt2_files(to)
    return model


def find_gpt2(source: str) -> Path:
    """The folder itself, or a download of the hub's where no such folder exists here."""
    if Path(source).is_dir():
        return Path(source)
    if source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no folder {source}")
    return download(source, SOURCE_FILES)


if __name__ == "__main__":
    run_command(main)
