"""python evaluate/bleu.py --model runs/x: translate test sets and report how good that is.

Also `accelerate launch evaluate/bleu.py …`: the processes share the lines. With --hypotheses instead of --model an
existing translation is scored.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accelerate import Accelerator

from common.command import run_command
from common.errors import InputError
from common.processes import check_world_size, set_threads
from data_pipeline.config import DataConfig
from evaluate.metrics.significance import Baseline, read_baseline
from evaluate.options import add_compute_type, add_decode_options, decode_config, read_decode_config, read_section
from evaluate.report.report import Report, evaluate_corpus, file_stems, translate_corpus
from evaluate.test_sets import Corpus, from_config, from_files, from_test_set, read_file
from evaluate.translator import Translator, refuse_language_model
from transformer.prepacked import pack
from transformer.pretrained import find_folder, read_about

Languages = tuple[str, str]


def parse_args() -> argparse.Namespace:
    """The command line; exits with 2 where options do not go together."""
    parser = argparse.ArgumentParser(
        description="Translate test sets and report sacreBLEU, chrF, TER and the paper's own BLEU, or score a "
        "translation that is there. Without --source and --test-set: the corpora of data.test in the run's config.yaml."
    )
    parser.add_argument("--model", help="model folder, or a name on the Hugging Face hub")
    parser.add_argument("--hypotheses", type=Path, help="instead of a model: its translation, or anybody's, to score")
    parser.add_argument("--source", type=Path, help="text file to translate, plain, .gz or .xz")
    parser.add_argument("--reference", type=Path, help="its reference translation, line by line")
    parser.add_argument("--test-set", help="sacreBLEU's name of a test set, such as wmt14/full")
    parser.add_argument("--langpair", help="languages of the test set or files, such as en-de (default: the model's)")
    parser.add_argument("--baseline", type=Path, help="NAME.json of an earlier report on the same lines: paired tests")
    parser.add_argument("--output", type=Path, help="folder for NAME.hyp and NAME.json (default: eval in the model's)")
    add_compute_type(parser)
    add_decode_options(parser)
    args = parser.parse_args()
    if (args.model is None) == (args.hypotheses is None):
        parser.error("give either --model or --hypotheses")
    if args.reference and args.test_set:
        parser.error("give either --source and --reference or --test-set")
    if args.hypotheses and not (args.reference or args.test_set):
        parser.error("--hypotheses needs --reference, or --test-set")
    if (args.source is None) != (args.reference is None) and not (args.hypotheses and args.reference):
        parser.error("--source and --reference go together")
    return args


def find_corpora(args: argparse.Namespace, folder: Path) -> list[Corpus]:
    """The corpora that the command line asks for, to be translated by the model in `folder`."""
    if args.source or args.test_set:
        return [one_corpus(args, model_languages(folder))]
    data = read_section(DataConfig, folder, "data")
    corpora = from_config(data) if data is not None else []
    if not corpora:
        raise InputError(f"{folder} has no config.yaml with data.test: give --source and --reference, or --test-set")
    if args.baseline and len(corpora) > 1:
        raise InputError(
            f"--baseline compares on one test set and {folder / 'config.yaml'} has {len(corpora)}: "
            "name one with --source and --reference, or --test-set"
        )
    return corpora


def one_corpus(args: argparse.Namespace, languages: Languages | None) -> Corpus:
    """The corpus that --test-set, or --reference, names; `languages` are those of the model.

    Raises ValueError where a test set's languages are not known.
    """
    given = None if args.langpair is None else parse_langpair(args.langpair)
    if args.reference:
        corpus = from_files(args.source, args.reference, given)
        return corpus if corpus.languages else replace(corpus, languages=languages)
    pair = given or languages
    if pair is None:
        unknown = "--hypotheses" if args.model is None else f"the model {args.model}"
        raise InputError(f"{unknown} does not say the languages of {args.test_set}: give --langpair, such as en-de")
    return from_test_set(args.test_set, "-".join(pair))


def parse_langpair(text: str) -> Languages:
    """`en-de` as two languages. Raises ValueError for anything else."""
    first, _, second = text.partition("-")
    if not (first and second):
        raise InputError(f"--langpair is {text!r}: give two languages, such as en-de")
    return first, second


def model_languages(folder: Path) -> Languages | None:
    """Source and target, where the model folder says them."""
    about = read_about(folder)
    return (about["source_lang"], about["target_lang"]) if "source_lang" in about else None


def warn_of_other_languages(corpus: Corpus, languages: Languages | None) -> None:
    """One sentence where the corpus is known to be of other languages than the model."""
    if corpus.languages is None or languages is None:
        return
    if any(theirs and theirs != ours for theirs, ours in zip(corpus.languages, languages, strict=True)):
        theirs, ours = ("-".join(part or "?" for part in pair) for pair in (corpus.languages, languages))
        print(f"warning: {corpus.name} is {theirs} and the model translates {ours}", file=sys.stderr)


def check_writable(folder: Path) -> None:
    """Make the folder and write into it, so that hours of translating are not lost. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


def find_baseline(report: Path | None, corpus: Corpus) -> Baseline | None:
    """What --baseline names, read before the translating. Raises as `read_baseline`."""
    return None if report is None else read_baseline(report, corpus.references)


def publish(report: Report, output: Path, stem: str, model: str) -> None:
    """Print, then save, so that a full disk does not take the figures with it."""
    print(report.text(), flush=True)
    files = report.save(output, stem, model)
    print(f"  written to {', '.join(map(str, files[:-1]))} and {files[-1]}", flush=True)


def score_text(args: argparse.Namespace) -> None:
    """Report on a translation that is there."""
    hypotheses, corpus = read_file(args.hypotheses), one_corpus(args, None)
    lines = len(corpus.references[0])
    if len(hypotheses) != lines:
        reference = args.reference or corpus.name
        raise InputError(
            f"{args.hypotheses} has {len(hypotheses)} lines and {reference} has {lines}: "
            "each translation needs its reference on the same line"
        )
    baseline = find_baseline(args.baseline, corpus)
    output = args.output or Path("eval")
    check_writable(output)
    (stem,) = file_stems([str(args.hypotheses)])
    publish(evaluate_corpus(corpus, hypotheses, baseline=baseline), output, stem, str(args.hypotheses))


def evaluate_model(args: argparse.Namespace) -> None:
    """Translate and report on one corpus after the other."""
    set_threads(None)  # accelerate launch leaves a process one thread
    accelerator = Accelerator()
    check_world_size(accelerator)
    folder = find_folder(args.model)
    refuse_language_model(folder)
    config = decode_config(args, read_decode_config(folder))
    output = args.output or (folder if Path(args.model).is_dir() else Path()) / "eval"
    with accelerator.main_process_first():  # one process downloads
        corpora = find_corpora(args, folder)
    baselines = [find_baseline(args.baseline, corpus) for corpus in corpora]
    if accelerator.is_main_process:
        check_writable(output)
        for corpus in corpora:
            warn_of_other_languages(corpus, model_languages(folder))
    translator = Translator.from_pretrained(folder, config, accelerator.device, args.compute_type)
    pack(translator.model)
    stems = file_stems([corpus.name for corpus in corpora])
    for corpus, stem, baseline in zip(corpora, stems, baselines, strict=True):
        assert corpus.sources is not None
        hypotheses, translating = translate_corpus(
            translator, corpus.sources, progress=accelerator.is_main_process and sys.stderr.isatty()
        )
        if accelerator.is_main_process:  # scoring takes one process
            publish(evaluate_corpus(corpus, hypotheses, translating, baseline), output, stem, args.model)
    accelerator.end_training()


def main() -> None:
    """Report on a model or on a text."""
    args = parse_args()
    if args.model is None:
        score_text(args)
    else:
        evaluate_model(args)


if __name__ == "__main__":
    run_command(main)
