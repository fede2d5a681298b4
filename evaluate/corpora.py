"""Where a report takes sources and references from: files, sacreBLEU's test sets or a run's own test corpus."""

from dataclasses import dataclass
from pathlib import Path

from data_pipeline.config import DataConfig
from data_pipeline.corpus import NoSuchSplit, read_pairs
from data_pipeline.files import read_lines
from data_pipeline.spec import corpus_value, parse_specs


@dataclass(frozen=True)
class Corpus:
    """What is translated and what it is compared with."""

    name: str
    """Named so in the report."""
    sources: list[str]
    """Lines to translate."""
    references: list[list[str]]
    """One or more reference translations of all lines."""
    has_pronouns: bool = False
    """True for the built-in corpus, whose pronouns can be checked."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError(f"{self.name} has no line to translate")
        assert all(len(reference) == len(self.sources) for reference in self.references)


def from_files(source: Path, reference: Path) -> Corpus:
    """Two text files whose lines correspond, plain, .gz or .xz.

    Raises FileNotFoundError where one is missing, ValueError where their counts of lines differ.
    """
    sources, references = _read(source), _read(reference)
    if len(sources) != len(references):
        raise ValueError(
            f"{source} has {len(sources)} lines and {reference} has {len(references)}: "
            "each source line needs its reference on the same line"
        )
    return Corpus(str(source), sources, [references])


def from_test_set(name: str, langpair: str) -> Corpus:
    """A test set by sacreBLEU's name, such as `wmt14/full` and `en-de`; fetched once, then from its cache.

    Raises ValueError where there is none of that name or it cannot be fetched.
    """
    from sacrebleu import utils

    try:
        if name not in utils.DATASETS:
            raise ValueError(f"sacreBLEU has no test set {name!r}; `sacrebleu --list` names those it has")
        if langpair not in utils.get_langpairs_for_testset(name):
            raise ValueError(f"sacreBLEU's {name} has no language pair {langpair!r}; name another with --langpair")
        source, references = utils.get_source_file(name, langpair), utils.get_reference_files(name, langpair)
    except (OSError, SystemExit) as error:  # sacreBLEU exits where a download is damaged
        raise ValueError(
            f"the test set {name} ({langpair}) cannot be downloaded ({error}): connect to the network once, "
            "or give local files with --source and --reference"
        ) from error
    return Corpus(f"{name} {langpair}", _read(Path(source)), [_read(Path(file)) for file in references])


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
        corpora.append(Corpus(name, sources, [references], has_pronouns=spec.kind == "grammar"))
    return corpora


def _read(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    return list(read_lines(file))
