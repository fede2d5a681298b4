"""Sentence pairs from text files, TSV, CSV and JSON lines, plain or compressed.

The readers are written by hand, because a quotation mark in a TSV file, the word "NA" and U+2028 within a line must not
be changed, and an invalid byte in line 3,000,000 must be reported with file and line.
"""

import csv
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.text_input import check_equal_lines, read_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.file_pairs import FilePair
from data_pipeline.sources.names import table_format

SentencePair = tuple[str, str]
"""Source and target, or for language modelling prompt and text."""


def read_parallel(files: list[FilePair]) -> Iterator[SentencePair]:
    """Yield line i of each source file with line i of its target file. Raises InputError if numbers of lines differ."""
    for source_file, target_file in files:
        yield from _zip_lines(source_file, target_file)


def read_table(file: Path, config: DataConfig) -> Iterator[SentencePair]:
    """Yield the pairs of one .tsv, .csv or .jsonl file. Raises InputError with the line that cannot be read."""
    match table_format(file):
        case ".tsv":
            return _read_tsv(file, config)
        case ".csv":
            return _read_csv(file, config)
        case _:
            return _read_json_lines(file, config)


def columns_hint(config: DataConfig) -> str:
    """Return the settings that name the columns, for an error message."""
    if config.task == "language_modelling":
        return "Set data.text_column (and data.prompt_column)."
    return "Set data.source_column and data.target_column."


def column_names(config: DataConfig) -> tuple[str, str]:
    """Return the names of the columns with source and target."""
    return config.source_column or config.source_lang, config.target_column or config.target_lang


def _zip_lines(source_file: Path, target_file: Path) -> Iterator[SentencePair]:
    sources, targets = read_lines(source_file), read_lines(target_file)
    for count, (source, target) in enumerate(zip_longest(sources, targets)):
        if source is None or target is None:
            longer = count + 1 + sum(1 for _ in (targets if source is None else sources))
            counts = (count, longer) if source is None else (longer, count)
            check_equal_lines(source_file, counts[0], target_file, counts[1])
        else:
            yield source, target


def _read_tsv(file: Path, config: DataConfig) -> Iterator[SentencePair]:
    source_at, target_at = 0, 1
    named = config.source_column or config.target_column
    for number, line in enumerate(read_lines(file), start=1):
        cells = line.split("\t")
        if number == 1 and (named or set(column_names(config)) <= set(cells)):
            source_at, target_at = _find_columns(cells, config, file)
        elif len(cells) <= max(source_at, target_at):
            raise InputError(
                f"{file}, line {number}: found {len(cells)} column{'s' * (len(cells) != 1)}, but at least "
                f"{max(source_at, target_at) + 1} columns, separated by tabs, are needed"
            )
        else:
            yield cells[source_at], cells[target_at]


def _read_csv(file: Path, config: DataConfig) -> Iterator[SentencePair]:
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader((line + "\n" for line in read_lines(file)), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        source_at, target_at = _find_columns(header, config, file)
        for row in rows:
            if row and len(row) != len(header):
                raise InputError(
                    f"{file}, line {rows.line_num}: found {len(row)} columns, but the header has {len(header)}"
                )
            if row:
                yield row[source_at], row[target_at]
    except csv.Error as error:
        raise InputError(f"{file}, line {rows.line_num}: not valid CSV ({error})") from error


def _read_json_lines(file: Path, config: DataConfig) -> Iterator[SentencePair]:
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        try:
            pair = _parse_pair(line, config)
        except InputError as error:
            raise InputError(f"{file}, line {number}: {error}") from error
        yield pair


def _parse_pair(line: str, config: DataConfig) -> SentencePair:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON ({error.msg}, at character {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or thousands of brackets
        raise InputError(f"JSON that cannot be read ({error})") from error
    if not isinstance(row, dict):
        raise InputError("not a JSON object. Write an object with a key for each column.")
    source, target = _pick_columns(row, config)
    if "\\ud" in line.lower():
        _reject_surrogates(source + target)
    return source, target


def _reject_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise InputError(f"the text contains the lone surrogate \\u{code:04x}. Repair its encoding.") from error


def _pick_columns(row: dict[str, Any], config: DataConfig) -> SentencePair:
    names = column_names(config)
    if not (config.source_column or config.target_column) and isinstance(row.get("translation"), dict):
        row = row["translation"]
    for name in names:
        if name not in row:
            found = ", ".join(map(repr, row)) or "none"
            raise InputError(f"no key {name!r}; the keys are: {found}. {columns_hint(config)}")
        if not isinstance(row[name], str | None):
            raise InputError(f"the value of {name!r} must be text, not {type(row[name]).__name__}")
    return row[names[0]] or "", row[names[1]] or ""


def _find_columns(header: list[str], config: DataConfig, file: Path) -> tuple[int, int]:
    names = column_names(config)
    for name in names:
        if name not in header:
            raise InputError(
                f"{file} has no column {name!r}; its columns are: {', '.join(map(repr, header))}. "
                f"{columns_hint(config)}"
            )
    return header.index(names[0]), header.index(names[1])
