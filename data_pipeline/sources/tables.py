"""Sentence pairs from text files, TSV, CSV and JSON lines; plain, .gz or .xz.

Written by hand because here a quotation mark in a TSV, the word "NA", U+2028 in the middle of a line and a wrong
byte in line 3,000,000 must come out as they went in, or be reported with file and line.
"""

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.names import table_format

Pair = tuple[str, str]

DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)  # what reading a broken archive raises


def read_parallel(source_files: list[Path], target_files: list[Path]) -> Iterator[Pair]:
    """Line i of the one with line i of the other, file by file. Raises ValueError where the counts differ."""
    if len(source_files) != len(target_files):
        raise InputError(
            f"{len(source_files)} source files ({source_files[0]}, …) do not pair with "
            f"{len(target_files)} target files ({target_files[0]}, …)"
        )
    for source_file, target_file in zip(source_files, target_files, strict=True):
        yield from _zip_lines(source_file, target_file)


def read_table(file: Path, config: DataConfig) -> Iterator[Pair]:
    """The pairs of one .tsv, .csv or .jsonl file. Raises ValueError, with the line, where a row cannot be read."""
    match table_format(file):
        case ".tsv":
            return _read_tsv(file, config)
        case ".csv":
            return _read_csv(file, config)
        case _:
            return _read_json_lines(file, config)


def read_lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, cut at "\\n" and nowhere else, without "\\n" or "\\r\\n" and without a byte-order
    mark. Raises ValueError with file and line where a byte is wrong or the file is cut short."""
    return (line.removesuffix("\n").removesuffix("\r") for line in read_text(file))


def read_text(file: Path) -> Iterator[str]:
    """A UTF-8 file line by line, as it is, but for a byte-order mark. Raises as `read_lines`."""
    number = 0
    try:
        with open_binary(file) as raw:
            for number, line in enumerate(raw, start=1):
                text = line.decode("utf-8")
                yield text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}, line {number}: byte 0x{error.object[error.start]:02x} is not UTF-8: "
            f"convert the file or repair the line"
        ) from error
    except DAMAGED as error:
        raise InputError(f"{file} is damaged after line {number} ({error})") from error


def columns_cure(config: DataConfig) -> str:
    """What to set where a column is missing."""
    if config.task == "language_modelling":
        return "set data.text_column (and data.prompt_column)"
    return "set data.source_column and data.target_column"


def column_names(config: DataConfig) -> Pair:
    """The names that a table's two columns go by."""
    return config.source_column or config.source_lang, config.target_column or config.target_lang


def open_binary(file: Path) -> gzip.GzipFile | lzma.LZMAFile | IO[bytes]:
    """The bytes of a file, unpacked where its name ends in .gz or .xz."""
    if file.suffix == ".gz":
        return gzip.open(file, "rb")
    if file.suffix == ".xz":
        return lzma.open(file, "rb")
    return file.open("rb")


def _zip_lines(source_file: Path, target_file: Path) -> Iterator[Pair]:
    sources, targets = read_lines(source_file), read_lines(target_file)
    for count, (source, target) in enumerate(zip_longest(sources, targets)):
        if source is None or target is None:
            more = count + 1 + sum(1 for _ in (targets if source is None else sources))
            counts = (count, more) if source is None else (more, count)
            raise InputError(
                f"{source_file} has {counts[0]} lines and {target_file} has {counts[1]}: "
                f"parallel text needs the same number"
            )
        yield source, target


def _read_tsv(file: Path, config: DataConfig) -> Iterator[Pair]:
    source_at, target_at = 0, 1
    named = config.source_column or config.target_column
    for number, line in enumerate(read_lines(file), start=1):
        cells = line.split("\t")
        if number == 1 and (named or set(column_names(config)) <= set(cells)):
            source_at, target_at = _find_columns(cells, config, file)
        elif len(cells) <= max(source_at, target_at):
            raise InputError(
                f"{file}, line {number}: {len(cells)} column{'s' * (len(cells) != 1)} where at least "
                f"{max(source_at, target_at) + 1}, divided by tabs, are needed"
            )
        else:
            yield cells[source_at], cells[target_at]


def _read_csv(file: Path, config: DataConfig) -> Iterator[Pair]:
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader((line + "\n" for line in read_lines(file)), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        source_at, target_at = _find_columns(header, config, file)
        for row in rows:
            if row and len(row) != len(header):
                raise InputError(f"{file}, line {rows.line_num}: {len(row)} columns under a header of {len(header)}")
            if row:
                yield row[source_at], row[target_at]
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num}: {error}") from error


def _read_json_lines(file: Path, config: DataConfig) -> Iterator[Pair]:
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError("no JSON object")
            pair = _pair_of(row, config)
            if "\\ud" in line.lower():
                "".join(pair).encode()  # raises for half a surrogate pair, which Arrow cannot hold
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}, line {number}: {error}") from error
        yield pair


def _pair_of(row: dict[str, Any], config: DataConfig) -> Pair:
    names = column_names(config)
    if not (config.source_column or config.target_column) and isinstance(row.get("translation"), dict):
        row = row["translation"]
    for name in names:
        if name not in row:
            found = ", ".join(map(repr, row)) or "nothing"
            raise InputError(f"no {name!r} among {found}: {columns_cure(config)}")
        if not isinstance(row[name], str | None):
            raise InputError(f"{name!r} is {type(row[name]).__name__} and not text")
    return row[names[0]] or "", row[names[1]] or ""


def _find_columns(header: list[str], config: DataConfig, file: Path) -> tuple[int, int]:
    names = column_names(config)
    for name in names:
        if name not in header:
            raise InputError(
                f"{file} has no column {name!r} but {', '.join(map(repr, header))}: {columns_cure(config)}"
            )
    return header.index(names[0]), header.index(names[1])
