"""Text for language modelling, segment by segment, from all corpora that `data.train` may name (see `DataConfig`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.notes import print_note
from common.text_input import read_text
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import describe_taken, table_config
from data_pipeline.sources.corpus import iterate_tables
from data_pipeline.sources.hub import find_row_columns, find_tables, load_rows
from data_pipeline.sources.names import CorpusSpec, Role, find_text_files, parse_specs
from data_pipeline.sources.tables import open_tables

if TYPE_CHECKING:
    from datasets import Dataset

SEGMENT = 1 << 20
"""Characters of a file in memory at once. A segment also contains the rest of its last line."""
ARITHMETIC_HELD_OUT = 10_000
"""Number of problems in each split of the built-in arithmetic except train."""


@dataclass(frozen=True)
class TextSegment:
    """A document, or one of the consecutive parts of a long one."""

    text: str
    predicted: bool = True
    """False: the text is a prompt, so the loss does not count its tokens."""
    ends_document: bool = True


def open_text(
    value: Any, config: DataConfig, role: Role, work: Path, note: Callable[[str], None] = print_note
) -> Callable[[], Iterator[TextSegment]]:
    """Return a function that reads the text of a corpus from its start, as often as it is called.

    Files that cannot be read raise while the text is read, all other errors at once, as in `load_rows`.

    Args:
        value: value of `data.train`, `data.valid` or `data.test`.
        work: folder for what datasets are converted into. It must exist as long as the text is read.
        note: gets the columns that are read.
    """
    readers = [_open_corpus(spec, config, role, work, note) for spec in parse_specs(value, "language_modelling")]
    return lambda: (segment for read in readers for segment in read())


def has_prompts(value: Any, config: DataConfig) -> bool:
    """Return True if some segments of the corpus may be prompts."""
    specs = parse_specs(value, "language_modelling")
    return config.prompt_column is not None or any(spec.kind == "arithmetic" for spec in specs)


def _open_corpus(
    spec: CorpusSpec, config: DataConfig, role: Role, work: Path, note: Callable[[str], None]
) -> Callable[[], Iterator[TextSegment]]:
    if spec.kind == "arithmetic":
        return partial(_generate_problems, spec, config, role)
    if spec.kind == "text_files":
        files, about = find_text_files(spec)
        if about:
            omitted = ", ".join(file.name for file in about)
            note(f"note: not read in {spec}: {omitted}. To read all files, set the corpus to {spec.path}/*.txt")
        return lambda: (segment for file in files for segment in _read_file(file))
    columns = table_config(config)
    tables = find_tables(spec, role, work, note)
    if tables is not None:
        read = open_tables(tables, columns, note)
        return lambda: (segment for prompt, text in read() for segment in _make_document(prompt, text, config))
    rows = load_rows(spec, role, work)
    if rows is None:
        return lambda: iter(())
    names, example = find_row_columns(rows, columns, str(spec))
    note(f"note: {spec}: {describe_taken((repr(names[0]), repr(names[1])), example, config)}")
    return partial(_read_rows, rows.select_columns(sorted(set(names))), names, config)


def _read_file(file: Path) -> Iterator[TextSegment]:
    """Yield one document in segments, each of complete lines."""
    lines = read_text(file)
    waiting: str | None = None
    while group := list(_take_lines(lines, SEGMENT)):
        if waiting is not None:
            yield TextSegment(waiting, ends_document=False)
        waiting = "".join(group)
    if waiting is not None:
        yield TextSegment(waiting)


def _take_lines(lines: Iterator[str], characters: int) -> Iterator[str]:
    for line in lines:
        yield line
        characters -= len(line)
        if characters <= 0:
            return


def _read_rows(rows: "Dataset", names: tuple[str, str], config: DataConfig) -> Iterator[TextSegment]:
    for table in iterate_tables(rows):
        prompts, texts = (table.column(name).to_pylist() for name in names)
        for prompt, text in zip(prompts, texts, strict=True):
            yield from _make_document(prompt or "", text or "", config)


def _make_document(prompt: str, text: str, config: DataConfig) -> Iterator[TextSegment]:
    if not text.strip():
        return  # without text there is nothing to predict
    if config.prompt_column is not None and prompt:
        yield TextSegment(prompt, predicted=False, ends_document=False)
    yield TextSegment(text)


def _generate_problems(spec: CorpusSpec, config: DataConfig, role: Role) -> Iterator[TextSegment]:
    from data_pipeline.builtin.arithmetic import addition, calculator

    split: Any = spec.split or role
    n = config.problems if split == "train" else ARITHMETIC_HELD_OUT
    if spec.path == "addition":
        documents = addition(split, n, config.seed, config.digits)
    else:
        documents = calculator(split, n, config.seed)
    for document in islice(documents, n):
        for i, (text, predicted) in enumerate(document, start=1):
            yield TextSegment(text, predicted, ends_document=i == len(document))
