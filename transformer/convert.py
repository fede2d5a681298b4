"""Convert a GPT-2 of the library `transformers` to a model folder, and back.

python -m transformer.convert import gpt2 models/gpt2
python -m transformer.convert export models/gpt2 models/gpt2-transformers
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import expand
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from transformer.formats.gpt2 import check_exportable, find_gpt2, read_gpt2, write_gpt2
from transformer.model import GPT, Transformer, count_parameters
from transformer.model_card import model_card, public_name
from transformer.pretrained import find_folder, load_pretrained, save_pretrained


def main() -> None:
    """Read the command line and write the folder."""
    parser = CommandParser(
        description="Convert a GPT-2 of the library transformers to a model folder, or a model folder to a GPT-2.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    reading = commands.add_parser("import", help="convert a GPT-2 of transformers to a model folder")
    reading.add_argument("source", help="folder, or a name on the Hugging Face Hub such as gpt2 or gpt2-xl")
    writing = commands.add_parser("export", help="convert a model folder to a GPT-2 of transformers")
    writing.add_argument("source", help="model folder, or a name on the Hugging Face Hub")
    for command in (reading, writing):
        command.add_argument("output", type=expand, help="folder to write; it must be new or empty")
    args = parser.parse_args()
    if args.output.exists() and not (args.output.is_dir() and not any(args.output.iterdir())):
        raise InputError(f"{args.output} already exists and is not an empty folder. Give another folder to write.")
    model = (import_gpt2 if args.command == "import" else export_gpt2)(args.source, args.output)
    print(f"wrote {args.output}: {count_parameters(model):,} parameters of {args.source}")


def import_gpt2(source: str, output: Path) -> GPT:
    """Write the model folder of a GPT-2; return the model."""
    folder = find_gpt2(source)
    model = read_gpt2(folder)
    origin = (
        f"Converted from `{public_name(source)}`, a GPT-2 (Radford et al., 2019) of the library transformers. "
        "The licence of the source applies to the weights."
    )
    card = model_card("GPT-2", model.config, count_parameters(model), origin)
    with TemporaryDirectory() as work:
        tokenizer_file = Path(work) / "tokenizer.model"
        BytePairTokenizer.from_gpt2_folder(folder, model.config.vocab_size, tokenizer_file)
        save_pretrained(output, model, tokenizer_file, card)
    return model


def export_gpt2(source: str, output: Path) -> Transformer | GPT:
    """Write the files that transformers' `GPT2LMHeadModel` and `AutoTokenizer` read; return the model."""
    folder = find_folder(source)
    model, config = load_pretrained(folder)
    check_exportable(config)
    try:
        tokenizer = BytePairTokenizer(folder / "tokenizer.model")
    except InputError as error:
        raise InputError(f"{error}. transformer.formats.gpt2.to_gpt2 converts the model alone.") from error
    write_gpt2(output, model, tokenizer.end_id)
    tokenizer.write_gpt2_files(output)
    return model


if __name__ == "__main__":
    run_command(main)
