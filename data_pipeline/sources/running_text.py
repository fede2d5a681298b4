"""Running text for a language model, piece by piece, from whatever `data.train` may name (see `DataConfig`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import BATCH, check_text_columns, load_rows
from data_pipeline.sources.names import CorpusSpec, Role, find_files, parse_specs, table_format
from data_pipeline.sources.tables import columns_cure, read_table, read_text

if TYPE_CHECKING:
    from datasets import Dataset

PIECE = 1 << 20
"""Characters of a file that are in memory at once, and then the rest of the line."""
HELD_OUT = 10_000  # problems of the built-in arithmetic's splits other than train


@dataclass(frozen=True)
class Piece:
    """A part of a document."""

    text: str
    predicted: bool = True
    """False where the text is given: a question, of which nothing is to be learned but its answer."""
    ends: bool = True
    """True for the last part of a document."""


def open_text(value: Any, config: DataConfig, role: Role, work: Path) -> Callable[[], Iterator[Piece]]:
    """What reads the pieces of a `train`, `valid` or `test`, as often as it is called.

    `work` is a folder for what data sets are converted into. Raises as `corpus.load`; a file's own mistakes show
    while it is read.
    """
    parts = [_open(spec, config, role, work) for spec in parse_specs(value, "language_modelling")]
    return lambda: (piece for part in parts for piece in part())


def has_given_parts(value: Any, config: DataConfig) -> bool:
    """True where some of the text may be given."""
    return config.prompt_column is not None or any(
        spec.kind == "arithmetic" for spec in parse_specs(value, "language_modelling")
    )


def _open(spec: CorpusSpec, config: DataConfig, role: Role, work: Path) -> Callable[[], Iterator[Piece]]:
    if spec.kind == "arithmetic":
        return partial(_problems, spec, config, role)
    if spec.kind == "file":
        files = find_files(spec.path)
        return lambda: (piece for file in files for piece in _file(file))
    if spec.kind == "set" or table_format(spec.path) == ".parquet":
        rows = load_rows(spec, role, work)
        if rows is None:
            return lambda: iter(())
        columns = [config.prompt_column or config.text_column, config.text_column]
        check_text_columns(rows, columns, str(spec), columns_cure(config))
        return partial(_rows, rows.select_columns(sorted(set(columns))), config)
    tables = find_files(spec.path)
    return lambda: (piece for table in tables for piece in _table(table, config))


def _file(file: Path) -> Iterator[Piece]:
    """One document, in pieces that end with a line."""
    lines = read_text(file)
    waiting: str | None = None
    while chunk := list(_lines_of(lines, PIECE)):
        if waiting is not None:
            yield Piece(waiting, ends=False)
        waiting = "".join(chunk)
    if waiting is not None:
        yield Piece(waiting)


def _lines_of(lines: Iterator[str], characters: int) -> Iterator[str]:
    for line in lines:
        yield line.removesuffix("\r\n") + "\n" if line.endswith("\r\n") else line
        characters -= len(line)
        if characters <= 0:
            return


def _table(file: Path, config: DataConfig) -> Iterator[Piece]:
    columns = replace(
        config, source_column=config.prompt_column or config.text_column, target_column=config.text_column
    )
    for given, text in read_table(file, columns):
        yield from _document(given, text, config)


def _rows(dataset: "Dataset", config: DataConfig) -> Iterator[Piece]:
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        texts = table.column(config.text_column).to_pylist()
        given = table.column(config.prompt_column or config.text_column).to_pylist()
        for before, text in zip(given, texts, strict=True):
            yield from _document(before or "", text or "", config)


def _document(given: str, text: str, config: DataConfig) -> Iterator[Piece]:
    if not text.strip():
        return  # a row without text says nothing
    if config.prompt_column is not None and given:
        yield Piece(given, predicted=False, ends=False)
    yield Piece(text)


def _problems(spec: CorpusSpec, config: DataConfig, role: Role) -> Iterator[Piece]:
    from data_pipeline.builtin.arithmetic import addition, calculator

    split: Any = spec.split or role
    n = config.problems if split == "train" else HELD_OUT
    if spec.path == "addition":
        documents = addition(split, n, config.seed, config.digits)
    else:
        documents = calculator(split, n, config.seed)
    for document in islice(documents, n):
        for i, (text, predicted) in enumerate(document, start=1):
            yield Piece(text, predicted, ends=i == len(document))
