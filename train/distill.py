"""Let a teacher translate training text, to train another model on the translations (docs/own-text.md).

    python -m train.distill --teacher runs/teacher --out data/distilled data.train=[train.en,train.de]
    python -m train.distill --teacher runs/de-en --out data/back --text more.de

A teacher of the direction of the pairs translates their sources (sequence-level distillation), one of the other
direction their targets (back-translation). The same command resumes a run that was stopped. It reads only the settings
of the section `data`; the trainer filters the pairs.
"""

import shutil

from common.arguments import settings_parser
from common.command import run_command
from common.files import expand, lock, make_folder
from common.settings import load_section
from data_pipeline.config import DataConfig
from evaluate.options import add_backend, add_compute_type, add_decode_options, decode_config


def main() -> None:
    """Read the command line, translate, and print the settings that train on the result."""
    parser = settings_parser(__doc__, DataConfig, "data")
    parser.add_argument("--teacher", required=True, help="model folder, or a name on the Hugging Face Hub")
    parser.add_argument("--out", type=expand, required=True, help="folder to write")
    parser.add_argument(
        "--text",
        action="append",
        metavar="FILE",
        help="text file, or pattern, in the teacher's source language, instead of data.train; may be repeated",
    )
    add_backend(parser)
    add_compute_type(parser, "auto")
    add_decode_options(parser)
    args = parser.parse_intermixed_args()
    given = any(override.startswith("data.train=") for override in args.overrides)
    if given if args.text else not (given or args.config):
        parser.error("give either data.train or --text")
    config = load_section(DataConfig, "data", args.config, args.overrides)
    # Imported after the options are read: --help does not need PyTorch.
    from evaluate.model_folders import read_decode_config
    from evaluate.translator import Translator
    from train.distillation import PairFiles, corpus_lines, describe_result, distill, find_origin, find_side, text_lines
    from transformer.pretrained import find_folder

    folder = find_folder(args.teacher)
    decode = decode_config(args, read_decode_config(folder))
    translator = Translator.from_pretrained(folder, decode, None, args.compute_type, args.backend)
    side = find_side(translator, config)
    make_folder(args.out)
    work = args.out / ".work"
    with lock(args.out / ".lock"):
        languages = config.source_lang, config.target_lang
        output = PairFiles(args.out, languages, find_origin(translator, folder))
        shutil.rmtree(work, ignore_errors=True)  # of a killed process
        work.mkdir()
        try:
            distill(
                translator, *(text_lines(args.text) if args.text else corpus_lines(config, side, work)), output, side
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
    print(describe_result(output, config, bool(args.text)))


if __name__ == "__main__":
    run_command(main)
