"""Sentence pairs from text files, TSV, CSV and JSON lines, plain or compressed.

The readers are written by hand, because a quotation mark in a TSV file, the word "NA" and U+2028 within a line must not
be changed, and an invalid byte in line 3,000,000 must be reported with file and line.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest
from pathlib import Path

from common.text_input import check_equal_lines, read_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.file_pairs import FilePair
from data_pipeline.sources.json_lines import JsonLayout, find_json_layout
from data_pipeline.sources.names import table_format
from data_pipeline.sources.table_layout import TableLayout, find_layout

SentencePair = tuple[str, str]
"""Source and target, or for language modelling prompt and text."""
Layout = TableLayout | JsonLayout


def read_parallel(files: list[FilePair]) -> Iterator[SentencePair]:
    """Yield line i of each source file with line i of its target file. Raises InputError if numbers of lines differ."""
    for source_file, target_file in files:
        yield from _zip_lines(source_file, target_file)


def open_tables(
    files: Sequence[Path], config: DataConfig, note: Callable[[str], None]
) -> Callable[[], Iterator[SentencePair]]:
    """Return a function that reads the pairs of .tsv, .csv and .jsonl files. Each call reads them from the start.

    `note` gets a sentence on the columns that are read. The function raises InputError with file and line if a row
    cannot be read.

    Raises InputError if the columns are not certain.
    """
    layouts = find_layouts(files, config)
    for layout, group in groupby(layouts, key=lambda found: found[1]):
        first, *more = (file for file, _ in group)
        also = f" and {len(more)} more file{'s' * (len(more) > 1)}" if more else ""
        note(f"note: {layout.describe(f'{first}{also}', config)}")
    return lambda: (pair for file, layout in layouts for pair in layout.read(file))


def find_layouts(files: Sequence[Path], config: DataConfig) -> list[tuple[Path, Layout]]:
    """Return the layout of each file that is not empty. A file that begins as the one before it has its layout."""
    found: list[tuple[Path, Layout]] = []
    for file in files:
        if found and table_format(found[-1][0]) == table_format(file) and found[-1][1].fits(file):
            found.append((file, found[-1][1]))
        elif (layout := _find_layout(file, config)) is not None:
            found.append((file, layout))
    return found


def _find_layout(file: Path, config: DataConfig) -> Layout | None:
    return find_json_layout(file, config) if table_format(file) == ".jsonl" else find_layout(file, config)


def _zip_lines(source_file: Path, target_file: Path) -> Iterator[SentencePair]:
    sources, targets = read_lines(source_file), read_lines(target_file)
    for count, (source, target) in enumerate(zip_longest(sources, targets)):
        if source is None or target is None:
            longer = count + 1 + sum(1 for _ in (targets if source is None else sources))
            counts = (count, longer) if source is None else (longer, count)
            check_equal_lines(source_file, counts[0], target_file, counts[1])
        else:
            yield source, target
