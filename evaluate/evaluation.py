"""Evaluation of a model or of an existing translation: translate test sets on all ranks, score, write the report."""

import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object

from common.directions import choose_direction
from common.errors import InputError
from common.files import expand, make_folder, open_output, reject_links, write_json, write_text
from common.input_bytes import input_name
from common.processes import check_launcher, check_world_size, set_threads
from common.text import show_controls
from common.text_input import check_equal_lines, read_all_lines
from common.writing_systems import language_code
from evaluate.config import DecodeConfig, EnsembleMean
from evaluate.metrics.bleu_tokenizer import choose_tokenizer
from evaluate.metrics.comet import find_comet
from evaluate.metrics.limits import check_comparable
from evaluate.metrics.significance import Baseline, read_baseline
from evaluate.model_folders import find_models, read_decode_config
from evaluate.report.report import Report, TranslationInfo, make_report
from evaluate.report.report_text import report_text, worst_text
from evaluate.segmentation.lines import describe_too_long
from evaluate.test_sets import (
    Languages,
    Selection,
    TestSet,
    find_test_set,
    find_test_sets,
    folder_directions,
)
from evaluate.translation import EMPTY
from evaluate.translator import Translator


@dataclass(frozen=True)
class ReportOptions:
    """What a report contains, and where it goes."""

    baseline: Path | None = None
    """`NAME.json` of another report on the same lines, to compare with."""
    output: Path | None = None
    """Folder of the files. None: `eval` in the model folder, or in the current folder."""
    tokenizer: str | None = None
    """sacreBLEU's name of BLEU's tokenizer. None: chosen by the target language, or by the references."""
    json: str | None = None
    """File for the figures of all reports, as JSON lines; `-` is standard output, and the reports go to standard
    error. None: no such file."""
    keep_unicode: bool = False
    """Compare the texts as they are. Otherwise they are compared in one Unicode form."""
    comet: str | None = None
    """Command that computes COMET. None: no COMET."""


def evaluate_text(hypotheses: Path, selection: Selection, options: ReportOptions = ReportOptions()) -> None:
    """Score an existing translation; print and write the report."""
    lines, test_set = read_all_lines(hypotheses), find_test_set(selection, None)
    first_reference = input_name(selection.references[0]) if selection.references else test_set.name
    check_equal_lines(input_name(hypotheses), len(lines), first_reference, len(test_set.references[0]))
    tokenizer = choose_tokenizer(options.tokenizer, test_set.target_language, test_set.references)
    comet = _find_comet(options, [test_set])
    output = options.output or Path("eval")
    (stem,) = file_stems([input_name(hypotheses)])
    other = _read_baseline(options.baseline, test_set, output / f"{stem}.json")
    check_writable(output)
    write_translations(output, stem, lines)
    with open_figures(options.json) as figures:
        with _naming_translation(output / f"{stem}.hyp"):
            report = make_report(
                test_set, lines, baseline=other, tokenizer=tokenizer, keep_unicode=options.keep_unicode, comet=comet
            )
        publish(report, output, stem, str(hypotheses), figures)


def evaluate_model(
    models: Sequence[str],
    selection: Selection,
    change_decode: Callable[[DecodeConfig], DecodeConfig],
    compute_type: str = "float32",
    options: ReportOptions = ReportOptions(),
    ensemble_mean: EnsembleMean = "log-probabilities",
    languages: tuple[str | None, str | None] = (None, None),
) -> None:
    """Translate and score test sets one after the other; print and write a report on each.

    All processes of an `accelerate launch` must call this function.

    Args:
        models: one model, or those of an ensemble, whose report goes to `eval` in the current folder.
        change_decode: returns the decoding settings to use, from those of the first model folder.
        languages: source and target language, if a model of several directions is to translate in one of them only.
            None: the languages of a test set choose the direction.
    """
    check_launcher()
    set_threads(None)  # accelerate launch leaves one thread per process
    accelerator = Accelerator()
    check_world_size(accelerator)
    folder, *others = find_models(models, *languages)
    config = change_decode(read_decode_config(folder))
    with accelerator.main_process_first():  # one process downloads the test set
        test_sets = find_test_sets(selection, folder, *languages)
    directions = [_direction_of(test_set, folder, *languages) for test_set in test_sets]
    check_one_test_set(options.baseline, test_sets)
    comet = _find_comet(options, test_sets)
    output = options.output or _default_output(folder if not others and expand(models[0]).is_dir() else Path())
    stems = file_stems([test_set.name for test_set in test_sets])
    tokenizers = [choose_tokenizer(options.tokenizer, one.target_language, one.references) for one in test_sets]
    baselines = [
        _read_baseline(options.baseline, one, output / f"{stem}.json")
        for one, stem in zip(test_sets, stems, strict=True)
    ]
    if accelerator.is_main_process:
        check_writable(output)
        for test_set, direction in zip(test_sets, directions, strict=True):
            warn_of_other_languages(test_set, direction)
    first = directions[0] or (None, None)
    loaded = Translator.from_pretrained(
        [folder, *others], config, accelerator.device, compute_type, source_lang=first[0], target_lang=first[1],
        ensemble_mean=ensemble_mean,
    )  # fmt: skip
    with open_figures(options.json if accelerator.is_main_process else None) as figures:
        for test_set, direction, stem, other, tokenizer in zip(
            test_sets, directions, stems, baselines, tokenizers, strict=True
        ):
            assert test_set.sources is not None
            translator = loaded.with_direction(*direction) if direction else loaded
            hypotheses, translation = translate_lines(
                translator, test_set.sources, progress=accelerator.is_main_process
            )
            if accelerator.is_main_process:  # scoring takes one process
                if message := describe_too_long(translation.too_long, translator.max_len):
                    print(f"note: {message}", file=sys.stderr)
                write_translations(output, stem, hypotheses)
                with _naming_translation(output / f"{stem}.hyp"):
                    report = make_report(
                        test_set, hypotheses, translation, other, tokenizer, options.keep_unicode, comet
                    )
                publish(report, output, stem, ", ".join(models), figures)
    accelerator.end_training()


def _direction_of(
    test_set: TestSet, folder: Path, source_lang: str | None, target_lang: str | None
) -> Languages | None:
    """Return the direction in which a test set is translated; None if the model names no languages.

    Raises InputError if neither the given languages nor those of the test set choose one of several directions.
    """
    directions = folder_directions(folder, source_lang, target_lang)
    if len(directions) < 2:
        return directions[0] if directions else None
    of_test_set = test_set.languages or ("", "")
    return choose_direction(folder, directions, *(language or None for language in of_test_set))


def _find_comet(options: ReportOptions, test_sets: list[TestSet]) -> list[str] | None:
    """Return the words of COMET's command, None if COMET is not wanted. Raises InputError if it cannot be computed."""
    if options.comet is None:
        return None
    if any(test_set.sources is None for test_set in test_sets):
        raise InputError("--comet compares a translation with its source, too. Give --source.")
    return find_comet(options.comet)


def _default_output(folder: Path) -> Path:
    reject_links(folder, ["eval"])
    return folder / "eval"


def translate_lines(
    translator: Translator, sources: list[str], progress: bool = False
) -> tuple[list[str], TranslationInfo]:
    """Translate lines on all processes: process r of W translates segments r, r + W, ….

    All processes must call this function. Lines are split into sentences as in `Translator.translate`.

    Returns:
        All translations, equal on every process, and how they were made.

    Raises:
        InputError: a character of a line has more tokens than the model's limit; on every process.
    """
    started = time.perf_counter()
    rank, world_size = PartialState().process_index, PartialState().num_processes
    split = translator.segmenter().split(sources)  # on every process: a bad line stops all, so that no process waits
    segments = [segment for line in split for segment in line.segments]
    own = translator.ids.translate(translator.encode(segments[rank::world_size]), progress=progress)
    translated = [EMPTY] * len(segments)
    for other, best in enumerate(gather_object([[translations[0] for translations in own]])):
        translated[other::world_size] = best
    rest = iter(translated)
    hypotheses = [line.join([[next(rest)] for _ in line.segments])[0].text for line in split]
    info = TranslationInfo(
        seconds=time.perf_counter() - started,
        processes=world_size,
        device=translator.device.type,
        compute_type=translator.compute_type,
        decode=translator.config,
        several_sentences=sum(line.sentences > 1 for line in split),
        too_long=[number for number, line in enumerate(split, 1) if line.too_long],
        copied=sum(line.is_copied for line in split),
    )
    return hypotheses, info


def write_translations(output: Path, stem: str, hypotheses: list[str]) -> None:
    """Write NAME.hyp, before anything is scored: translating takes hours, and an error must not lose them."""
    write_text(output / f"{stem}.hyp", "".join(f"{line}\n" for line in hypotheses))


@contextmanager
def open_figures(path: str | None) -> Iterator[TextIO | None]:
    """Yield the file for the figures of all reports; `-` is standard output. Yield None for None."""
    if path is None:
        yield None
        return
    with open_output(None if path == "-" else path) as file:
        yield file


@contextmanager
def _naming_translation(file: Path) -> Iterator[None]:
    """Print where the translation is if it cannot be scored."""
    try:
        yield
    except Exception:
        print(f"note: the translation is saved as {file}; --hypotheses scores it again", file=sys.stderr)
        raise


def publish(report: Report, output: Path, stem: str, model: str, figures: TextIO | None = None) -> None:
    """Write NAME.json and NAME.worst.txt, print the report, and write its figures as one line of JSON to `figures`.

    If `figures` is standard output, the report goes to standard error. If writing fails, the report is printed all the
    same. If printing fails, the files are complete.
    """
    files = [output / f"{stem}.{suffix}" for suffix in ("hyp", "json", "worst.txt")]
    about = {"model": model, **report.as_json()}
    screen = sys.stderr if figures is sys.stdout else sys.stdout
    try:
        write_json(files[1], about)
        write_text(files[2], worst_text(report))
    finally:
        if figures is not None:
            print(json.dumps(about, allow_nan=False), file=figures, flush=True)
        print(report_text(report), file=screen, flush=True)
    print(show_controls(f"  written to {files[0]}, {files[1]} and {files[2]}"), file=screen, flush=True)


def _read_baseline(baseline: Path | None, test_set: TestSet, report: Path) -> Baseline | None:
    """Return the baseline. Raises InputError if `report` would replace it, or if the text is too large to compare."""
    if baseline is None:
        return None
    if expand(baseline).resolve() == expand(report).resolve():
        raise InputError(f"the new report would replace the baseline {baseline}. Give another folder with --output.")
    check_comparable(test_set.references)
    return read_baseline(baseline, test_set.references)


def check_one_test_set(baseline: Path | None, test_sets: list[TestSet]) -> None:
    """Raise InputError if a baseline is to be compared on several test sets."""
    if baseline is not None and len(test_sets) > 1:
        raise InputError(
            f"--baseline compares on one test set, but the run's data.test has {len(test_sets)}. "
            "Select one with --source and --reference, or --test-set."
        )


def check_writable(folder: Path) -> None:
    """Create the folder and write a file into it, so that an error shows before translating. Raises OSError."""
    make_folder(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


def warn_of_other_languages(test_set: TestSet, languages: Languages | None) -> None:
    """Print a warning if the test set has other languages than the model."""
    if test_set.languages is None or languages is None:
        return
    pairs = zip(test_set.languages, languages, strict=True)
    if any(first and language_code(first) != language_code(second) for first, second in pairs):
        of_test_set, of_model = ("-".join(part or "?" for part in pair) for pair in (test_set.languages, languages))
        print(
            f"warning: {show_controls(test_set.name)} is {of_test_set}, but the model translates {of_model}",
            file=sys.stderr,
        )


def file_stems(names: list[str]) -> list[str]:
    """Return a file name for each test set: at most about 100 bytes, and all different."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name).strip("_.") or "test_set"
        if len(stem.encode()) > 100:
            mark = hashlib.sha256(name.encode()).hexdigest()[:8]
            stem = stem.encode()[:91].decode(errors="ignore") + "-" + mark
        candidates = [stem, *(f"{stem}-{number}" for number in range(2, len(names) + 1))]
        stems.append(next(free for free in candidates if free not in stems))
    return stems
