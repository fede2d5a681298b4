"""The comparison of runs as data, and the translation of their validation set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import expand, lock, make_folder, write_json
from common.notes import print_note
from data_pipeline.prepared_data import prepare
from evaluate.evaluation import translate_lines, write_translations
from evaluate.report.report import make_report
from evaluate.test_sets import Selection, TestSet
from evaluate.translator import Translator
from train.comparison.evaluations import TestSetComparison, compare_evaluations, find_texts, read_evaluations
from train.comparison.runs import ComparedRun, Group, comparability, figures_table, group_runs, read_runs

VALIDATION = "validation"
"""Name of the reports on the validation set, in `eval/` of each run folder."""


@dataclass(frozen=True)
class RunComparison:
    """What the page and the terminal show."""

    groups: list[Group]
    figures: list[list[str]]
    """Headings and rows of the final figures."""
    test_sets: list[TestSetComparison]
    notes: list[str]
    """Sentences about what cannot be compared."""


def compare_runs(folders: Sequence[Path], selection: Selection, validation: bool = False) -> RunComparison:
    """Read and compare runs. The first run, with the others of its settings, is the baseline of all tests.

    Args:
        selection: test set whose sources and references are given; all None: those of `data.test` of the runs.
        validation: translate the validation set with each model first, and write a report on it to each run folder.

    Raises as `read_runs`, and OSError or InputError if a file cannot be read or a model cannot translate.
    """
    runs = read_runs(folders)
    groups = group_runs(runs)
    texts = [evaluate_validation(run) for run in runs] if validation else []
    notes = comparability(groups)
    evaluations = {}
    for run in runs:
        evaluations[run.name], problems = read_evaluations(run)
        notes += problems
    test_sets: list[TestSetComparison] = []
    if runs[0].files.config.data.task == "translation":
        evaluated = [run for run in runs if evaluations[run.name]]
        found, problems = find_texts(evaluated, selection)
        test_sets, more = compare_evaluations(groups, evaluations, [*texts, *found])
        notes += problems + more
    return RunComparison(groups, figures_table(groups), test_sets, notes)


def evaluate_validation(run: ComparedRun) -> TestSet:
    """Translate the validation set of a run with its model and write a report. Return the set.

    Raises InputError if the run is a language model or has no model yet.
    """
    folder, data = run.files.folder, run.files.config.data
    if data.task != "translation":
        raise InputError("--validation is for translation. Leave it out to compare language models")
    if not run.files.has_model:
        raise InputError(f"{folder} has no model yet, so --validation cannot translate. Finish the run first")
    if data.has_directions:
        raise InputError("--validation is for models of one direction. Set data.test, and compare the test sets")
    print_note(f"{run.name}: translating the validation set")
    sources, references = prepare(data, expand(data.cache_dir), quiet=True).valid_text()
    test_set = TestSet(VALIDATION, sources, [references], languages=(data.source_lang, data.target_lang))
    hypotheses, info = translate_lines(Translator.from_pretrained(folder), sources, progress=True)
    output = folder / "eval"
    with lock(folder / ".lock"):
        make_folder(output)
        write_translations(output, VALIDATION, hypotheses)
        report = make_report(test_set, hypotheses, info)
        write_json(output / f"{VALIDATION}.json", {"model": str(folder), **report.as_json()})
    return test_set
