"""Write a shortlist from training pairs: python -m evaluate.make_shortlist --model runs/x --source a.en --target a.de

`python -m transformer.translate --shortlist` reads it. docs/decoding.md has its cost in BLEU.
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.directions import choose_direction, has_tags, model_directions
from common.errors import InputError
from common.files import expand
from common.text_input import check_equal_lines, read_all_lines
from evaluate.options import add_languages, add_model


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(description="Write the likely target tokens of each source token, from training pairs.")
    add_model(parser)
    add_languages(parser)
    files = "text file (plain, .gz, .xz or .zst) with"
    parser.add_argument("--source", type=expand, required=True, help=f"{files} one sentence per line")
    parser.add_argument("--target", type=expand, required=True, help=f"{files} the translation of each line")
    parser.add_argument("--output", type=expand, required=True, help="file for the shortlist, such as x.safetensors")
    parser.add_argument("--candidates", type=int, default=50, help="target tokens per source token (default: 50)")
    return parser.parse_args()


def main() -> None:
    """Count the pairs and write the file."""
    args = parse_args()
    # Imported after the options are read: --help does not need PyTorch.
    from data_pipeline.tokenizers import open_translation_tokenizer
    from evaluate.shortlist import train_shortlist
    from transformer.included_models import DEFAULT
    from transformer.pretrained import find_folder, read_about

    if args.candidates < 1:
        raise InputError(f"--candidates is {args.candidates}; it must be at least 1")
    if not args.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {args.output.absolute().parent} to write {args.output.name} to")
    folder = find_folder(args.model)
    about = read_about(folder)
    languages = args.source_lang, args.target_lang
    _, target_lang = choose_direction(folder, model_directions(about) or [DEFAULT], *languages)
    sources, targets = read_all_lines(args.source), read_all_lines(args.target)
    check_equal_lines(args.source, len(sources), args.target, len(targets))
    if not sources:
        raise InputError(f"{args.source} and {args.target} are empty. Give sentences and their translations.")
    normalize = about.get("normalize_unicode") is not False
    tokenizer = open_translation_tokenizer(folder / "tokenizer.model", normalize)
    if has_tags(about):
        tokenizer = tokenizer.for_target(target_lang)
    pairs = list(zip(tokenizer.encode(sources), tokenizer.encode_target(targets), strict=True))
    train_shortlist(pairs, tokenizer.vocab_size, args.candidates).save(args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    run_command(main)
