"""Corpora of sentence pairs, each as one Arrow table with the text columns `source` and `target`.

Datasets and Parquet files are loaded by `hub`. Text, TSV, CSV, JSON lines and the built-in corpus are written to an
Arrow file. In both cases the text is memory-mapped from the disk.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, first_line
from common.files import find_files
from common.notes import print_note
from common.text_input import check_fits, group_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import describe_taken
from data_pipeline.sources.file_pairs import find_file_pairs
from data_pipeline.sources.hub import find_row_columns, find_tables, load_rows
from data_pipeline.sources.languages import find_language_problems
from data_pipeline.sources.names import CorpusSpec, Role, parse_specs
from data_pipeline.sources.table_layout import SAMPLE, SAMPLE_CHARACTERS
from data_pipeline.sources.tables import SentencePair, open_tables, read_parallel
from data_pipeline.sources.treebanks import check_tree_corpus, read_treebanks
from data_pipeline.worker_pool import map_in_order

if TYPE_CHECKING:  # slow import, not needed if `prepare` finds its cache
    from datasets import Dataset
    from pyarrow import Table

PAIRS_AT_ONCE = 10_000
"""Largest number of sentence pairs in memory at once."""
BYTES_AT_ONCE = 32 << 20
"""Largest number of bytes of sentence pairs in memory at once."""
GRAMMAR_HELD_OUT = 1000
"""Number of pairs in each split of the built-in corpus except train."""
LANGUAGE_BLOCKS = 4
"""Number of blocks of consecutive pairs, evenly spread, in which the languages of a corpus are checked."""
Note = Callable[[str], None]
"""Gets notes and warnings on what is read, each one line."""


def load_corpus(
    spec: CorpusSpec, config: DataConfig, role: Role, work: Path, threads: int = 1, note: Note = print_note
) -> "Dataset":
    """Return one corpus as an Arrow table with the columns `source` and `target`.

    Args:
        work: folder for what local files are converted into. It must exist as long as the table is used.
        threads: number of processes for a large built-in corpus.
        note: gets the columns that are read, and a warning if the text is not in the languages of the settings.

    Raises:
        NoSuchSplit: the corpus is a dataset without the split of the role.
        InputError: a file is damaged, a column is missing, or the target language is `tree` for another corpus than a
            treebank.
        OSError: a file or a dataset does not exist, or the Hugging Face Hub does not answer.
    """
    check_tree_corpus(str(spec), spec.kind == "treebank", config)
    tables = find_tables(spec, role, work, note)
    if spec.kind == "treebank":
        pairs = _memory_map(read_treebanks(find_files(spec.path), note, config.number_words), work)
    elif tables is not None:
        pairs = _memory_map(open_tables(tables, config, note)(), work)
    elif spec.kind in ("dataset", "table"):
        rows = load_rows(spec, role, work)
        pairs = _memory_map([], work) if rows is None else _two_columns(rows, config, str(spec), note)
    else:
        pairs = _memory_map(_read_pairs_of(spec, config, role, threads), work)
    if spec.kind != "grammar":
        _check_languages(pairs, config, str(spec), note)
    return pairs


def load_corpora(
    value: Any, config: DataConfig, role: Role, work: Path, threads: int = 1, note: Note = print_note
) -> "Dataset":
    """Return all corpora that a value of `data.train`, `data.valid` or `data.test` names, one after another.

    Raises as `load_corpus`, and InputError if there is no pair.
    """
    from datasets import concatenate_datasets

    corpora = [load_corpus(spec, config, role, work, threads, note) for spec in parse_specs(value)]
    pairs = concatenate_datasets(corpora)
    if len(pairs) == 0:
        raise InputError(f"data.{role}={value} is empty: it has no sentence pairs. Give files with text")
    return pairs


def read_pairs(value: Any, config: DataConfig, role: Role = "test") -> tuple[list[str], list[str]]:
    """Return sources and targets of a small corpus unchanged: not filtered, not normalised, in their order.

    Args:
        value: a `CorpusSpec`, or a value of `data.train`, `data.valid` or `data.test`.
    """
    sources: list[str] = []
    targets: list[str] = []
    size = 0
    with tempfile.TemporaryDirectory() as work:
        for source, target in iterate_pairs(load_corpora(value, config, role, Path(work))):
            sources += source
            targets += target
            size += sum(map(sys.getsizeof, (*source, *target)))
            check_fits(f"data.{role}={value}", len(sources), size)
    return sources, targets


def iterate_pairs(pairs: "Dataset") -> Iterator[tuple[list[str], list[str]]]:
    """Yield groups of at most PAIRS_AT_ONCE sources and their targets. A missing value becomes an empty text."""
    for table in iterate_tables(pairs):
        source, target = ([text or "" for text in table.column(name).to_pylist()] for name in ("source", "target"))
        yield source, target


def iterate_tables(rows: "Dataset") -> Iterator["Table"]:
    """Yield the rows as Arrow tables of at most PAIRS_AT_ONCE rows and, unless it is one row, BYTES_AT_ONCE bytes."""
    for table in rows.with_format("arrow").iter(batch_size=PAIRS_AT_ONCE):
        yield from _small_tables(table)


def _small_tables(table: "Table") -> Iterator["Table"]:
    if table.num_rows < 2 or table.nbytes <= BYTES_AT_ONCE:
        yield table
    else:
        yield from _small_tables(table.slice(0, table.num_rows // 2))
        yield from _small_tables(table.slice(table.num_rows // 2))


def _read_pairs_of(spec: CorpusSpec, config: DataConfig, role: Role, threads: int) -> Iterable[SentencePair]:
    if spec.kind == "grammar":
        return _generate_grammar(spec.split or role, config, threads)
    return read_parallel(find_file_pairs(spec.path, spec.target, (config.source_lang, config.target_lang)))


def _generate_grammar(split: str, config: DataConfig, threads: int) -> Iterator[SentencePair]:
    total = config.grammar_pairs if split == "train" else GRAMMAR_HELD_OUT
    ranges = [(start, min(PAIRS_AT_ONCE, total - start)) for start in range(0, total, PAIRS_AT_ONCE)]
    for pairs in map_in_order(partial(_generate_range, split, config.seed), ranges, total, threads):
        yield from pairs


def _generate_range(split: Any, seed: int, start_and_size: tuple[int, int]) -> list[SentencePair]:
    from data_pipeline.builtin.grammar import generate

    start, size = start_and_size
    return list(generate(split, size, seed, start))


def _memory_map(pairs: Iterable[SentencePair], work: Path) -> "Dataset":
    import pyarrow as pa
    from datasets import Dataset

    schema = pa.schema({"source": pa.string(), "target": pa.string()})
    with (
        tempfile.NamedTemporaryFile(dir=work, suffix=".arrow", delete=False) as out,
        pa.ipc.new_stream(out, schema) as writer,
    ):
        for group in group_lines(pairs, lambda pair: len(pair[0]) + len(pair[1]), PAIRS_AT_ONCE):
            columns = [pa.array(column, pa.string()) for column in zip(*group, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return Dataset.from_file(out.name)


def _two_columns(rows: "Dataset", config: DataConfig, name: str, note: Note) -> "Dataset":
    from datasets import Features, Value

    _check_utf8(rows, name)
    nested = not (config.source_column or config.target_column) and "translation" in rows.column_names
    rows = rows.select_columns("translation").flatten() if nested else rows
    wanted, example = find_row_columns(rows, config, name, "translation." if nested else "")
    note(f"note: {name}: {describe_taken((repr(wanted[0]), repr(wanted[1])), example, config)}")
    pairs = rows.select_columns(list(wanted)).rename_columns(dict(zip(wanted, ("source", "target"), strict=True)))
    text = Features({"source": Value("string"), "target": Value("string")})
    return pairs if pairs.features == text else pairs.cast(text)


def _check_utf8(rows: "Dataset", name: str) -> None:
    """Raise InputError with the row if text is not UTF-8: Parquet files are not checked when they are read."""
    import pyarrow as pa

    first = 1
    for table in rows.with_format("arrow").iter(batch_size=PAIRS_AT_ONCE):
        for column in table.column_names:
            try:
                table.column(column).validate(full=True)
            except pa.ArrowInvalid as error:
                row = first + next((n for n, cell in enumerate(table.column(column)) if not _is_readable(cell)), 0)
                raise InputError(
                    f"{name}, row {row}: the column {column!r} is not valid ({first_line(error)}). Repair the row"
                ) from error
        first += len(table)


def _is_readable(cell: Any) -> bool:
    try:
        cell.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _check_languages(pairs: "Dataset", config: DataConfig, name: str, note: Note) -> None:
    """Warn if source and target look swapped, or like another language than the settings."""
    size = max(1, SAMPLE // LANGUAGE_BLOCKS)
    starts = range(0, len(pairs), max(size, len(pairs) // LANGUAGE_BLOCKS))
    blocks = [pairs[start : start + size] for start in starts]
    source, target = (
        [(text or "")[:SAMPLE_CHARACTERS] for block in blocks for text in block[column]]
        for column in ("source", "target")
    )
    for problem in find_language_problems(source, target, (config.source_lang, config.target_lang)):
        note(f"warning: {name}: {problem}. Check which text is the source, and data.source_lang and data.target_lang.")
