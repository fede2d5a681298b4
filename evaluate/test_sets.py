"""Where a report takes sources and references from: files, sacreBLEU's test sets or a run's own test corpus."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import NoSuchSplit, read_pairs
from data_pipeline.sources.names import corpus_value, parse_specs
from data_pipeline.sources.tables import read_lines


@dataclass(frozen=True)
class Corpus:
    """What is translated and what it is compared with."""

    name: str
    """Named so in the report."""
    sources: list[str] | None
    """Lines to translate; None where there are only translations to score."""
    references: list[list[str]]
    """One or more reference translations of all lines."""
    has_pronouns: bool = False
    """True for the built-in corpus, whose pronouns can be checked."""
    languages: tuple[str, str] | None = None
    """Of sources and references, where they are known."""
    test_set: str | None = None
    """sacreBLEU's name of it."""

    def __post_init__(self) -> None:
        if not self.references[0]:
            raise InputError(f"{self.name} has no line to translate")
        assert self.sources is None or len(self.sources) == len(self.references[0])
        assert all(len(reference) == len(self.references[0]) for reference in self.references)


def from_files(source: Path | None, reference: Path, languages: tuple[str, str] | None = None) -> Corpus:
    """Two text files whose lines correspond, plain, .gz or .xz; or a reference alone.

    `languages` None are those that the names of the files end in, as `test.en` does. Raises FileNotFoundError where a
    file is missing, ValueError where their counts of lines differ.
    """
    references = read_file(reference)
    sources = None if source is None else read_file(source)
    if sources is not None and len(sources) != len(references):
        raise InputError(
            f"{source} has {len(sources)} lines and {reference} has {len(references)}: "
            "each source line needs its reference on the same line"
        )
    name = str(reference if source is None else source)
    return Corpus(name, sources, [references], languages=languages or file_languages(source, reference))


def file_languages(source: Path | None, reference: Path) -> tuple[str, str] | None:
    """The languages that the names of files end in, such as `en` and `de` of test.en and test.de.gz; "" for a source
    whose name says none, None where the reference's says none."""
    from sacrebleu.utils import DATASETS

    known = {language for data in DATASETS.values() for pair in data.langpairs for language in pair.split("-")}
    ends = ["" if file is None else file.name.removesuffix(".gz").removesuffix(".xz") for file in (source, reference)]
    first, second = (language if language in known else "" for language in (Path(end).suffix[1:] for end in ends))
    return (first, second) if second else None


def from_test_set(name: str, langpair: str) -> Corpus:
    """A test set by sacreBLEU's name, such as `wmt14/full` and `en-de`; fetched once, then from its cache.

    Raises ValueError where there is none of that name or it cannot be fetched.
    """
    from sacrebleu import utils

    try:
        if name not in utils.DATASETS:
            raise InputError(f"sacreBLEU has no test set {name!r}; `sacrebleu --list` names those it has")
        if langpair not in utils.get_langpairs_for_testset(name):
            raise InputError(f"sacreBLEU's {name} has no language pair {langpair!r}; name another with --langpair")
        source, references = utils.get_source_file(name, langpair), utils.get_reference_files(name, langpair)
    except (OSError, SystemExit) as error:  # sacreBLEU exits where a download is damaged
        raise InputError(
            f"the test set {name} ({langpair}) cannot be downloaded ({error}): connect to the network once, "
            "or give local files with --source and --reference"
        ) from error
    texts = [read_file(Path(file)) for file in references]
    first, _, second = langpair.partition("-")
    return Corpus(f"{name} {langpair}", read_file(Path(source)), texts, languages=(first, second), test_set=name)


def from_config(config: DataConfig) -> list[Corpus]:
    """Every corpus of a run's `data.test`, or the test splits that its training data has; none where the run has
    none. Raises what `read_pairs` raises."""
    corpora = []
    value = corpus_value(config, "test")
    for spec in parse_specs(value) if value is not None else []:
        try:
            sources, references = read_pairs(spec, config, "test")
        except NoSuchSplit:
            if config.test is not None:
                raise
            continue
        name = Path(spec.path).name if spec.kind in ("text", "table") else str(spec)
        languages = (config.source_lang, config.target_lang)
        corpora.append(Corpus(name, sources, [references], has_pronouns=spec.kind == "grammar", languages=languages))
    return corpora


def read_file(file: Path) -> list[str]:
    """The lines of a text file, plain, .gz or .xz. Raises FileNotFoundError, or ValueError for what is not UTF-8."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    return list(read_lines(file))
