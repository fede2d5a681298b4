"""python evaluate/bleu.py --model runs/x: translate test sets and report sacreBLEU.

Also `accelerate launch evaluate/bleu.py …`: the processes share the lines.
"""

import argparse
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accelerate import Accelerator

from configs import cli
from data_pipeline.config import DataConfig
from evaluate.config import DecodeConfig
from evaluate.corpora import Corpus, from_config, from_files, from_test_set
from evaluate.options import add_decode_options, decode_config, read_section
from evaluate.ranks import check_world_size
from evaluate.report import evaluate_corpus, file_stems
from evaluate.translator import Translator, refuse_language_model
from train.devices import set_threads
from transformer.pretrained import find_folder, read_about


def parse_args() -> argparse.Namespace:
    """The command line; exits with 2 where options do not go together."""
    parser = argparse.ArgumentParser(
        description="Translate test sets and report sacreBLEU (13a, mixed case and lower-cased). "
        "Without --source and --test-set: the corpora of data.test in the run's config.yaml."
    )
    parser.add_argument("--model", required=True, help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--source", type=Path, help="text file to translate, plain, .gz or .xz")
    parser.add_argument("--reference", type=Path, help="its reference translation, line by line")
    parser.add_argument("--test-set", help="sacreBLEU's name of a test set, such as wmt14/full")
    parser.add_argument("--langpair", help="language pair of the test set, such as en-de (default: the model's)")
    parser.add_argument("--output", type=Path, help="folder for NAME.hyp and NAME.json (default: eval in the model's)")
    add_decode_options(parser)
    args = parser.parse_args()
    if (args.source is None) != (args.reference is None):
        parser.error("--source and --reference go together")
    if args.source and args.test_set:
        parser.error("give either --source and --reference or --test-set")
    return args


def find_corpora(args: argparse.Namespace, folder: Path) -> list[Corpus]:
    """The corpora that the command line asks for."""
    if args.source:
        return [from_files(args.source, args.reference)]
    if args.test_set:
        return [from_test_set(args.test_set, args.langpair or model_langpair(folder))]
    data = read_section(DataConfig, folder, "data")
    corpora = from_config(data) if data is not None else []
    if not corpora:
        raise ValueError(f"{folder} has no config.yaml with data.test: give --source and --reference, or --test-set")
    return corpora


def model_langpair(folder: Path) -> str:
    """`en-de`, as the model folder says. Raises ValueError where it does not."""
    about = read_about(folder)
    if "source_lang" not in about:
        raise ValueError(f"{folder / 'config.json'} does not say the model's languages: give --langpair")
    return f"{about['source_lang']}-{about['target_lang']}"


def check_writable(folder: Path) -> None:
    """Make the folder and write into it, so that hours of translating are not lost. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


def main() -> None:
    """Report on one corpus after the other."""
    args = parse_args()
    set_threads(None)  # accelerate launch leaves a process one thread
    accelerator = Accelerator()
    check_world_size(accelerator)
    folder = find_folder(args.model)
    refuse_language_model(folder)
    config = decode_config(args, read_section(DecodeConfig, folder, "decode") or DecodeConfig())
    output = args.output or (folder if Path(args.model).is_dir() else Path()) / "eval"
    with accelerator.main_process_first():  # one process downloads
        corpora = find_corpora(args, folder)
    if accelerator.is_main_process:
        check_writable(output)
    translator = Translator.from_pretrained(folder, config, accelerator.device)
    for corpus, stem in zip(corpora, file_stems([corpus.name for corpus in corpora]), strict=True):
        report, hypotheses = evaluate_corpus(
            translator, corpus, progress=accelerator.is_main_process and sys.stderr.isatty()
        )
        if accelerator.is_main_process:
            print(report.text(), flush=True)
            hyp_file, json_file = report.save(output, stem, hypotheses, args.model)
            print(f"  written to {hyp_file} and {json_file}", flush=True)
    accelerator.end_training()


if __name__ == "__main__":
    cli.run(main)
