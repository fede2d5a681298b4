"""Evaluation of a model or of an existing translation: translate test sets on all ranks, score, write the report."""

import hashlib
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object

from common.errors import InputError
from common.files import expand, reject_links, write_json, write_text
from common.input_bytes import input_name
from common.processes import check_launcher, check_world_size, set_threads
from common.text_input import check_equal_lines, read_all_lines
from evaluate.config import DecodeConfig
from evaluate.metrics.significance import read_baseline
from evaluate.model_settings import read_decode_config
from evaluate.report.report import Report, TranslationInfo, make_report
from evaluate.report.report_text import report_text, worst_text
from evaluate.segmentation.lines import describe_too_long
from evaluate.test_sets import (
    Languages,
    Selection,
    TestSet,
    find_test_set,
    find_test_sets,
    model_languages,
)
from evaluate.translation import EMPTY
from evaluate.translator import Translator, refuse_language_model
from transformer.pretrained import find_folder


def evaluate_text(
    hypotheses: Path, selection: Selection, baseline: Path | None = None, output: Path | None = None
) -> None:
    """Score an existing translation; print the report, and write it into `output` (default: the folder eval)."""
    lines, test_set = read_all_lines(hypotheses), find_test_set(selection, None)
    check_equal_lines(hypotheses, len(lines), selection.reference or test_set.name, len(test_set.references[0]))
    other = None if baseline is None else read_baseline(baseline, test_set.references)
    output = output or Path("eval")
    check_writable(output)
    (stem,) = file_stems([input_name(hypotheses)])
    write_translations(output, stem, lines)
    publish(make_report(test_set, lines, baseline=other), output, stem, str(hypotheses))


def evaluate_model(
    model: str,
    selection: Selection,
    change_decode: Callable[[DecodeConfig], DecodeConfig],
    compute_type: str = "float32",
    baseline: Path | None = None,
    output: Path | None = None,
) -> None:
    """Translate and score test sets one after the other; print and write a report on each.

    All processes of an `accelerate launch` must call this function.

    Args:
        change_decode: returns the decoding settings to use, from those of the model folder.
        output: folder for the reports. None: `eval` in the model folder, or in the current folder for a model on the
            Hub.
    """
    check_launcher()
    set_threads(None)  # accelerate launch leaves one thread per process
    accelerator = Accelerator()
    check_world_size(accelerator)
    folder = find_folder(model)
    refuse_language_model(folder)
    config = change_decode(read_decode_config(folder))
    with accelerator.main_process_first():  # one process downloads the test set
        test_sets = find_test_sets(selection, folder)
    check_one_test_set(baseline, test_sets)
    baselines = [None if baseline is None else read_baseline(baseline, one.references) for one in test_sets]
    if output is None:
        output = (folder if expand(model).is_dir() else Path()) / "eval"
        reject_links(output.parent, ["eval"])
    if accelerator.is_main_process:
        check_writable(output)
        for test_set in test_sets:
            warn_of_other_languages(test_set, model_languages(folder))
    translator = Translator.from_pretrained(folder, config, accelerator.device, compute_type)
    stems = file_stems([test_set.name for test_set in test_sets])
    for test_set, stem, other in zip(test_sets, stems, baselines, strict=True):
        assert test_set.sources is not None
        progress = accelerator.is_main_process and sys.stderr.isatty()
        hypotheses, translation = translate_lines(translator, test_set.sources, progress)
        if accelerator.is_main_process:  # scoring takes one process
            if message := describe_too_long(translation.too_long, translator.max_len):
                print(f"note: {message}", file=sys.stderr)
            write_translations(output, stem, hypotheses)
            publish(make_report(test_set, hypotheses, translation, other), output, stem, model)
    accelerator.end_training()


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
    own = translator.translate_ids(translator.encode(segments[rank::world_size]), progress=progress)
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


def publish(report: Report, output: Path, stem: str, model: str) -> None:
    """Write NAME.json and NAME.worst.txt, and print the report.

    If writing fails, the report is printed all the same. If printing fails, the files are complete.
    """
    files = [output / f"{stem}.{suffix}" for suffix in ("hyp", "json", "worst.txt")]
    try:
        write_json(files[1], {"model": model, **report.as_json()})
        write_text(files[2], worst_text(report))
    finally:
        print(report_text(report), flush=True)
    print(f"  written to {files[0]}, {files[1]} and {files[2]}", flush=True)


def check_one_test_set(baseline: Path | None, test_sets: list[TestSet]) -> None:
    """Raise InputError if a baseline is to be compared on several test sets."""
    if baseline is not None and len(test_sets) > 1:
        raise InputError(
            f"--baseline compares on one test set, but the run's data.test has {len(test_sets)}. "
            "Select one with --source and --reference, or --test-set."
        )


def check_writable(folder: Path) -> None:
    """Create the folder and write a file into it, so that an error shows before translating. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


def warn_of_other_languages(test_set: TestSet, languages: Languages | None) -> None:
    """Print a warning if the test set has other languages than the model."""
    if test_set.languages is None or languages is None:
        return
    if any(first and first != second for first, second in zip(test_set.languages, languages, strict=True)):
        of_test_set, of_model = ("-".join(part or "?" for part in pair) for pair in (test_set.languages, languages))
        print(f"warning: {test_set.name} is {of_test_set}, but the model translates {of_model}", file=sys.stderr)


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
