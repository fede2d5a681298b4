"""Test sets: sources and references from files, from sacreBLEU, or from the `data.test` of a run."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.directions import Languages, has_tags, match_directions, model_directions
from common.errors import InputError
from common.files import COMPRESSED
from common.input_bytes import input_name
from common.notes import print_note
from common.processes import local_rank
from common.text import is_blank
from common.text_input import check_equal_lines, read_all_lines
from common.writing_systems import is_language_code, language_code
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import read_pairs
from data_pipeline.sources.hub import NoSuchSplit
from data_pipeline.sources.languages import find_language_problems
from data_pipeline.sources.names import CorpusSpec, corpus_value, parse_specs
from evaluate.model_folders import read_section
from transformer.pretrained import read_about

SENTENCES = Path(__file__).resolve().parent / "sentences"
"""Folder of the everyday sentences, one file for each language."""
CHECKED = 1000
"""Number of lines whose languages are checked."""


@dataclass(frozen=True)
class TestSet:
    """Sources with their reference translations."""

    name: str
    """Name in the report."""
    sources: list[str] | None
    """Lines to translate. None if an existing translation is scored without its source."""
    references: list[list[str]]
    """One or more reference translations of all lines."""
    has_pronouns: bool = False
    """True for the built-in corpus, whose pronouns can be checked."""
    languages: Languages | None = None
    """Source and target language, if known."""
    sacrebleu_name: str | None = None
    """sacreBLEU's name of the test set, if it has one."""

    @property
    def target_language(self) -> str | None:
        """Language of the references, if it is known."""
        return self.languages[1] if self.languages else None

    def __post_init__(self) -> None:
        if not self.references[0]:
            raise InputError(f"{self.name} has no lines. Give a file with at least one line.")
        if all(is_blank(line) for lines in self.references for line in lines):
            raise InputError(
                f"all lines of the reference of {self.name} are empty. Give the file with the translations."
            )
        assert self.sources is None or len(self.sources) == len(self.references[0])
        assert all(len(reference) == len(self.references[0]) for reference in self.references)


@dataclass(frozen=True)
class Selection:
    """The user's choice of test sets: files, or a test set of sacreBLEU, or (all None) the run's `data.test`."""

    source: Path | None = None
    references: tuple[Path, ...] = ()
    """One or more reference translations of the same lines."""
    sacrebleu_name: str | None = None
    languages: Languages | None = None
    """Languages of files or of sacreBLEU's test set. None: from the file names, or the model's."""


def find_test_sets(
    selection: Selection, folder: Path, source_lang: str | None = None, target_lang: str | None = None
) -> list[TestSet]:
    """Return the selected test sets for the model in `folder`; with languages, only those of these directions.

    Raises:
        FileNotFoundError: a file is missing.
        InputError: nothing is selected and the run has no test corpus, or a test set cannot be read.
    """
    directions = folder_directions(folder, source_lang, target_lang)
    if selection.references or selection.sacrebleu_name:
        return [find_test_set(selection, directions[0] if len(directions) == 1 else None)]
    data = read_section(DataConfig, folder, "data")
    if data is not None:
        _print_files(data, folder)
    found = from_config(data) if data is not None else []
    if data is not None and data.has_directions:
        found = [test_set for test_set in found if test_set.languages in directions]
    if not found:
        raise InputError(f"{folder} has no config.yaml with data.test. Give --source and --reference, or --test-set.")
    return found


def _print_files(data: DataConfig, folder: Path) -> None:
    """Print which files of the user a model folder names: it may be from somebody else, and reports quote them."""
    values = [corpus_value(own, "test") for own in data.by_direction()]
    specs = [spec for value in values if value is not None for spec in parse_specs(value)]
    files = [str(spec) for spec in specs if _is_file(spec)]
    if files and local_rank() == 0:
        shown = repr(", ".join(files))[1:-1]
        print(f"note: reading the files that data.test in {folder / 'config.yaml'} names: {shown}", file=sys.stderr)


def _is_file(spec: CorpusSpec) -> bool:
    return spec.kind in ("parallel_files", "table", "treebank")


def find_test_set(selection: Selection, languages: Languages | None) -> TestSet:
    """Return the test set that files or a name of sacreBLEU select; `languages` are those of the model, if known."""
    if selection.references:
        test_set = from_files(selection.source, selection.references, selection.languages)
        test_set = test_set if test_set.languages else replace(test_set, languages=languages)
        _warn_of_languages(test_set)
        return test_set
    pair = selection.languages or languages
    assert selection.sacrebleu_name is not None
    if pair is None:
        raise InputError(f"the languages of {selection.sacrebleu_name} are not known. Give --langpair, such as en-de.")
    return from_sacrebleu(selection.sacrebleu_name, pair)


def _warn_of_languages(test_set: TestSet) -> None:
    """Warn if sources and references look swapped, or like other languages."""
    if test_set.sources and test_set.languages:
        texts = test_set.sources[:CHECKED], test_set.references[0][:CHECKED]
        for problem in find_language_problems(*texts, test_set.languages):
            print_note(f"warning: {test_set.name}: {problem}. Check --source and --reference, or give --langpair.")


def model_languages(folder: Path) -> Languages | None:
    """Return source and target language, if the model folder contains them and has one direction."""
    about = read_about(folder)
    return None if has_tags(about) else next(iter(model_directions(about)), None)


def folder_directions(folder: Path, source_lang: str | None = None, target_lang: str | None = None) -> list[Languages]:
    """Return the directions of a model folder that have these languages; [] if the folder names no languages.

    Raises InputError if no direction has them.
    """
    directions = model_directions(read_about(folder))
    return match_directions(folder, directions, source_lang, target_lang) if directions else []


def parse_languages(text: str) -> Languages:
    """Return `en-de` as two languages. Raises InputError for anything else."""
    first, _, second = text.partition("-")
    if not (first and second):
        raise InputError(f"--langpair is {text!r}; give two languages, such as en-de")
    return first, second


def from_files(source: Path | None, references: Sequence[Path], languages: Languages | None = None) -> TestSet:
    """Read a source file, if there is one, and one or more reference files.

    Without `languages`, the ends of the file names give them, as in `test.en`.

    Raises:
        FileNotFoundError: a file is missing.
        InputError: the files have different numbers of lines, or are not UTF-8, or the references' names end in
            different languages.
    """
    texts = [read_all_lines(reference) for reference in references]
    sources = None if source is None else read_all_lines(source)
    name = input_name(references[0] if source is None else source)
    for reference, lines in zip(references, texts, strict=True):
        check_equal_lines(name, len(texts[0] if sources is None else sources), input_name(reference), len(lines))
    return TestSet(name, sources, texts, languages=languages or _common_languages(source, references))


def _common_languages(source: Path | None, references: Sequence[Path]) -> Languages | None:
    found = {reference: file_languages(source, reference) for reference in references}
    different = {languages[1]: reference for reference, languages in found.items() if languages}
    if len(different) > 1:
        names = " and ".join(str(reference) for reference in different.values())
        raise InputError(f"the references {names} are in different languages. If not, give --langpair, such as en-de.")
    return next((languages for languages in found.values() if languages), None)


def file_languages(source: Path | None, reference: Path) -> Languages | None:
    """Return the languages at the end of the file names, such as `en` and `de` for test.en and test.de.gz.

    The source language is "" if the source's name has none. Return None if the reference's name has none.
    """
    first, second = map(_language_of, (source, reference))
    return (first, second) if second else None


def _language_of(file: Path | None) -> str:
    """Return the language at the end of a file name without .gz, .xz, .zst and .txt, or ""."""
    if file is None:
        return ""
    name = file.with_suffix("") if file.suffix in COMPRESSED else file
    ending = (name.with_suffix("") if name.suffix == ".txt" else name).suffix[1:]
    return language_code(ending) if is_language_code(ending) else ""


def everyday_sentences(languages: Languages) -> TestSet | None:
    """Return 60 sentences of everyday life, which were written for this project; None for other languages."""
    files = [SENTENCES / f"everyday.{language_code(language)}" for language in languages]
    if not all(file.is_file() for file in files) or files[0] == files[1]:
        return None
    sources, references = map(read_all_lines, files)
    return TestSet("everyday sentences", sources, [references], languages=languages)


def from_sacrebleu(name: str, languages: Languages) -> TestSet:
    """Return a test set of sacreBLEU, such as `wmt14/full`. It is downloaded once, then read from sacreBLEU's cache.

    Raises:
        InputError: sacreBLEU has no such test set or language pair, or the download fails.
    """
    from sacrebleu import utils

    langpair = "-".join(languages)
    try:
        if name not in utils.DATASETS:
            raise InputError(f"sacreBLEU has no test set {name!r}. `sacrebleu --list` prints the names.")
        if langpair not in utils.get_langpairs_for_testset(name):
            raise InputError(f"sacreBLEU's {name} has no language pair {langpair!r}. Give another one with --langpair.")
        source, references = utils.get_source_file(name, langpair), utils.get_reference_files(name, langpair)
    except (OSError, SystemExit) as error:  # sacreBLEU exits if a download is damaged
        raise InputError(
            f"the test set {name} ({langpair}) cannot be downloaded ({error}). Connect to the network once, "
            "or give local files with --source and --reference."
        ) from error
    texts = [read_all_lines(Path(file)) for file in references]
    return TestSet(f"{name} {langpair}", read_all_lines(Path(source)), texts, languages=languages, sacrebleu_name=name)


def from_config(config: DataConfig) -> list[TestSet]:
    """Return every corpus of `data.test`; if it is not set, the test splits of the training corpora, if any.

    Raises whatever `read_pairs` raises.
    """
    return [test_set for own in config.by_direction() for test_set in _from_direction(own, config.has_directions)]


def _from_direction(config: DataConfig, is_named: bool) -> Iterator[TestSet]:
    """Yield the test sets of a direction. `is_named`: their names begin with that of the direction."""
    value = corpus_value(config, "test")
    for spec in parse_specs(value) if value is not None else []:
        try:
            sources, references = read_pairs(spec, config, "test")
        except NoSuchSplit:
            if config.test is not None:
                raise
            continue
        name = Path(spec.path).name if _is_file(spec) else str(spec)
        name = f"{config.direction} {name}" if is_named else name
        yield TestSet(name, sources, [references], spec.kind == "grammar", config.languages)
