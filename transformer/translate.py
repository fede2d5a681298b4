"""Translate text: python -m transformer.translate [--from de --to en | --model runs/x] "A sentence."

Sentences come from the command line, from a file (--input), from standard input, or from a prompt at a terminal.
Lines end at "\\n" only. Every line of input gives one line of output, an empty line an empty one. The sentences of a
line are translated one by one; a line without a letter is copied. Standard output contains translations only.
"""

import argparse

from common.arguments import CommandParser
from common.command import run_command
from common.files import expand, open_output
from common.text_input import read_all_lines
from evaluate.options import (
    add_compute_type,
    add_decode_options,
    add_translation_options,
    check_translation_options,
    decode_config,
    translation_input,
    translation_sampling,
)


def parse_args() -> argparse.Namespace:
    """Read the command line; exit with status 2 if options exclude each other."""
    parser = CommandParser(
        description="Translate the given sentences, or the lines of --input, or the lines of standard input. The "
        "sentences of a line are translated one by one. A sentence that is too long for the model is split and "
        "translated in parts, with a note. A line without a letter, such as 42, is copied.",
    )
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="sentence to translate")
    parser.add_argument("--input", type=expand, help="text file (plain, .gz, .xz or .zst) with one sentence per line")
    parser.add_argument("--output", type=expand, help="output file (plain, .gz, .xz or .zst), written atomically")
    add_translation_options(parser)
    add_compute_type(parser, "auto", "; with ctranslate2 also int16 and others")
    parser.add_argument("--shortlist", type=expand, help="file of evaluate.make_shortlist: search only its tokens")
    add_decode_options(parser)
    args = parser.parse_args()
    check_translation_options(parser, args)
    return args


def main() -> None:
    """Translate the sentences that the command line names."""
    args = parse_args()  # before PyTorch is imported, which --help does not need
    from common.progress_bar import shows_progress_to
    from evaluate.documents import open_document, write_document
    from evaluate.model_folders import find_model, read_decode_config
    from evaluate.translation_writer import TranslationWriter
    from evaluate.translator import Translator

    folder = find_model(args.model, args.source_lang, args.target_lang)
    config, sampling = decode_config(args, read_decode_config(folder)), translation_sampling(args)
    # Files are read before the model, so that a missing file is reported at once.
    groups = translation_input(args)
    prefixes = read_all_lines(args.prefix) if args.prefix else None
    document = None if args.format == "text" else open_document(args.format, groups)
    translator = Translator.from_pretrained(
        [folder, *args.others], config, None, args.compute_type, args.backend, True, args.shortlist, args.source_lang,
        args.target_lang, args.protect, args.glossary, args.ensemble_mean)  # fmt: skip
    if document is not None:
        return write_document(translator, document, args.output)
    whole_lines = args.prefix or args.token_scores or args.attention
    writer = TranslationWriter(
        translator, None if whole_lines else translator.segmenter(args.documents, args.protect),
        n_best=args.n_best, sampling=sampling, prefixes=prefixes,
        as_json=args.json, token_scores=args.token_scores, attention=args.attention,
        choose=args.mbr or (args.reverse and (args.reverse, args.reverse_weight)),
    )  # fmt: skip
    with open_output(args.output) as out:
        if groups is None:
            writer.prompt(out)
        else:
            writer.write_groups(out, groups, progress=shows_progress_to(args.output))
    writer.print_notes()


if __name__ == "__main__":
    run_command(main)
