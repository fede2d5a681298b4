"""Layout of a TSV or CSV file: its delimiter, its quotation marks, its header, and the columns with source and target.

The layout is found from the first rows. A file that is not certain is refused, so nothing is guessed.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.errors import InputError
from common.text_input import read_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import Table, column_names, describe_taken, find_columns, is_header, quote
from data_pipeline.sources.names import table_format

SAMPLE = 1000
"""Rows from which the layout is found."""
SAMPLE_MEMORY = 1 << 23
"""Characters of the lines from which the layout is found."""
SAMPLE_CHARACTERS = 1000
"""Characters of a cell from which the layout is found."""
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
CELL_LIMIT = 1 << 24
"""Characters of the longest cell in quotation marks. If a mark is missing, the rest of the file would be one cell."""


@dataclass(frozen=True)
class Dialect:
    """How the cells of a row are separated."""

    delimiter: str
    quoted: bool
    """True: a cell may be in quotation marks and contain delimiters and line breaks. False: they are text."""
    skipped: int = 0
    """Lines before the first row: 1 for a line such as `sep=;`."""

    def read(self, lines: Iterable[str], file: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows with the number of their last line. Raises InputError with file and line if one is invalid."""
        lines = islice(lines, self.skipped, None)
        if not self.quoted:
            yield from ((i, line.split(self.delimiter)) for i, line in enumerate(lines, start=self.skipped + 1))
            return
        csv.field_size_limit(CELL_LIMIT)
        rows = csv.reader((line + "\n" for line in lines), delimiter=self.delimiter, strict=True)
        try:
            yield from ((self.skipped + rows.line_num, row) for row in rows if row)
        except csv.Error as error:
            line = self.skipped + rows.line_num
            raise InputError(
                f"{file}, line {line}: not valid CSV ({error}). Write a quotation mark within quotation marks twice."
            ) from error


@dataclass(frozen=True)
class Sample:
    """The first lines of a table."""

    file: Path
    lines: list[str]
    complete: bool
    """True: the file has no more lines."""

    def rows(self, dialect: Dialect) -> tuple[list[list[str]], InputError | None]:
        """Return the rows, with long cells shortened, and the error of the row after them, if it is invalid.

        An incomplete row at the end of the sample is no error.
        """
        rows: list[list[str]] = []
        try:
            for _, row in dialect.read(self.lines, self.file):
                rows.append([cell[:SAMPLE_CHARACTERS] for cell in row])
        except InputError as error:
            return rows, error if self.complete or "unexpected end of data" not in str(error) else None
        return rows, None

    def is_even(self, dialect: Dialect) -> bool:
        """Return True if all rows have the same number of columns, at least two."""
        rows, error = self.rows(dialect)
        return error is None and bool(rows) and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows)


def read_sample(file: Path) -> Sample:
    """Return the first lines of a file: at most SAMPLE lines, and not many more than SAMPLE_MEMORY characters."""
    lines: list[str] = []
    size = 0
    for line in read_lines(file):
        if len(lines) == SAMPLE or size > SAMPLE_MEMORY:
            return Sample(file, lines, complete=False)
        lines.append(line)
        size += len(line)
    return Sample(file, lines, complete=True)


@dataclass(frozen=True)
class TableLayout:
    """How a table is read."""

    dialect: Dialect
    header: list[str] | None
    source: int
    target: int
    width: int
    """Number of columns of the first row."""
    example: tuple[str, str]
    """Source and target of the first row."""

    def fits(self, file: Path) -> bool:
        """Return True if another file begins with the same header, or if both have none and as many columns."""
        rows = read_sample(file).rows(self.dialect)[0]
        row = rows[0] if rows else [""]
        return row == self.header if self.header is not None else len(row) == self.width

    def read(self, file: Path) -> Iterator[tuple[str, str]]:
        """Yield source and target of each row. Raises InputError with the line of a row that lacks a column."""
        rows = self.dialect.read(read_lines(file), file)
        if self.header is not None:
            next(rows, None)
        needed = max(self.source, self.target) + 1
        for number, row in rows:
            if (self.dialect.quoted and len(row) != self.width) or len(row) < needed:
                raise InputError(f"{file}, line {number}: {self._describe_width(row, needed)}")
            yield row[self.source], row[self.target]

    def describe(self, where: str, config: DataConfig) -> str:
        """Return the sentence that reports which columns are read. `where`: the files."""
        marks = ""
        if (self.dialect.delimiter == "\t") == self.dialect.quoted:
            marks = ", cells may be in quotation marks" if self.dialect.quoted else ", quotation marks are text"
        header = "with a header" if self.header is not None else "without a header"
        columns = self._name(self.source), self._name(self.target)
        taken = describe_taken(columns, self.example, config)
        return f"{where}: {taken} ({self.width} columns, {DELIMITERS[self.dialect.delimiter]}{marks}, {header})"

    def identity(self, config: DataConfig) -> list[object]:
        """Return what decides the pairs besides settings and content: nothing for the oldest layouts, so that the data
        of older versions are found.
        """
        dialect = self.dialect.delimiter, self.dialect.quoted, self.dialect.skipped
        if self.header is None and (dialect, self.source, self.target) == (("\t", False, 0), 0, 1):
            return []
        names = None if self.header is None else (self.header[self.source], self.header[self.target])
        if names == column_names(config) and dialect in (("\t", False, 0), (",", True, 0)):
            return []
        return [*dialect, self.header is not None, self.source, self.target]

    def _name(self, column: int) -> str:
        return f"column {column + 1}" + (f" {quote(self.header[column])}" if self.header is not None else "")

    def _describe_width(self, row: Sequence[str], needed: int) -> str:
        found = f"found {len(row)} column{'s' * (len(row) != 1)}"
        if self.dialect.quoted:
            first = "header" if self.header is not None else "first row"
            return f"{found}, but the {first} has {self.width}. Repair the line, or its quotation marks."
        return f"{found}, but at least {needed} columns, separated by {DELIMITERS[self.dialect.delimiter]}, are needed"


def find_layout(file: Path, config: DataConfig) -> TableLayout | None:
    """Return the layout of a .tsv or .csv file, or None if it has no rows.

    Raises InputError if the layout is not certain, or if a row of the sample is invalid.
    """
    sample = read_sample(file)
    dialect = find_dialect(sample, config)
    rows, error = sample.rows(dialect)
    if not rows and error:
        raise error
    if not rows:
        return None
    if config.task == "translation" and len(rows[0]) < 2:
        raise InputError(
            f"{file}, line 1: found 1 column, but at least 2 columns, separated by "
            f"{DELIMITERS[dialect.delimiter]}, are needed"
        )
    table = Table(str(file), None, rows)
    header = is_header(table, config, usual=table_format(file) == ".csv")
    if header:
        table = Table(str(file), rows[0], rows[1:])
    source, target = find_columns(table, config)
    example = next(((row[source], row[target]) for row in table.rows if max(source, target) < len(row)), ("", ""))
    return TableLayout(dialect, rows[0] if header else None, source, target, len(rows[0]), example)


def find_dialect(sample: Sample, config: DataConfig) -> Dialect:
    """Return the delimiter and the quoting of a .tsv or .csv file.

    Tabs are preferred in .tsv files. In other cases the delimiter that gives all rows of the sample as many columns is
    taken; if several do, the one whose header has the names of source and target.
    """
    lines = sample.lines
    if lines and (named := re.fullmatch(r'"?sep=(.)"?', lines[0])) and named[1] in DELIMITERS:
        return Dialect(named[1], True, skipped=1)
    usual = "\t" if table_format(sample.file) == ".tsv" else ","
    if usual == "\t" and (not lines or "\t" in lines[0]):
        return Dialect("\t", _is_quoted(lines))
    even = [dialect for dialect in (Dialect(mark, True) for mark in DELIMITERS) if sample.is_even(dialect)]
    if len(even) > 1:
        even = [dialect for dialect in even if _names_columns(sample, dialect, config)] or even
    if len(even) > 1:
        found = " or ".join(DELIMITERS[dialect.delimiter] for dialect in even)
        raise InputError(
            f"{sample.file}: whether its columns are separated by {found} is not certain. As its first line, write "
            f"a header with the names {config.source_lang} and {config.target_lang}."
        )
    return even[0] if even else Dialect(usual, quoted=usual != "\t")


def _names_columns(sample: Sample, dialect: Dialect, config: DataConfig) -> bool:
    rows, _ = sample.rows(dialect)
    try:
        find_columns(Table(str(sample.file), rows[0], rows[1:]), config)
    except InputError:
        return False
    return True


def _is_quoted(lines: Sequence[str]) -> bool:
    """Return True if quotation marks in a TSV file are those of CSV, and not text.

    Each cell that contains one must be enclosed in them. One of these cells must contain a doubled one, or all cells
    must be enclosed.
    """
    cells = [cell for line in lines for cell in line.split("\t") if cell]
    marked = [cell for cell in cells if '"' in cell]
    if not marked or not all(re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in marked):
        return False
    return any('""' in cell[1:-1] for cell in marked) or len(marked) == len(cells)
