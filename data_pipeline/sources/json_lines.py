"""JSON lines: their keys with source and target, and their pairs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.text_input import read_lines
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import Table, column_names, describe_taken, find_columns
from data_pipeline.sources.table_layout import SAMPLE_CHARACTERS, read_sample

Pair = tuple[str, str]


@dataclass(frozen=True)
class JsonLayout:
    """The keys of source and target."""

    source: str
    target: str
    nested: bool
    """True: they are keys of the object `translation`, in rows that have one."""
    example: Pair

    def fits(self, file: Path) -> bool:
        """Return True if the first row of another file has the keys."""
        row = next(_rows(file), {})
        return {self.source, self.target} <= _inner(row, self.nested).keys()

    def read(self, file: Path) -> Iterator[Pair]:
        """Yield source and target of each row. Raises InputError with the line of a row that cannot be read."""
        for number, line in enumerate(read_lines(file), start=1):
            if line.strip():
                try:
                    pair = self._pick(_parse(line))
                    if "\\ud" in line.lower():
                        _reject_surrogates("".join(pair))
                except InputError as error:
                    raise InputError(f"{file}, line {number}: {error}") from error
                yield pair

    def describe(self, where: str, config: DataConfig) -> str:
        """Return the sentence that reports which keys are read. `where`: the files."""
        prefix = "translation." if self.nested else ""
        keys = repr(prefix + self.source), repr(prefix + self.target)
        return f"{where}: {describe_taken(keys, self.example, config)}"

    def identity(self, config: DataConfig) -> list[object]:
        """Return what decides the pairs besides settings and content: the keys, if the settings do not name them."""
        keys = self.source, self.target
        return [] if keys == column_names(config) else [*keys]

    def _pick(self, row: dict[str, Any]) -> Pair:
        row = _inner(row, self.nested)
        for name in (self.source, self.target):
            if name not in row:
                found = ", ".join(map(repr, row)) or "none"
                raise InputError(f"no key {name!r}; the keys are: {found}. Add the key to this row.")
            if not isinstance(row[name], str | None):
                raise InputError(f"the value of {name!r} must be text, not {type(row[name]).__name__}")
        return row[self.source] or "", row[self.target] or ""


def find_json_layout(file: Path, config: DataConfig) -> JsonLayout | None:
    """Return the keys of a file of JSON lines, or None if it has no rows.

    Raises InputError if the keys are not certain. A row that is not an object is reported when the file is read.
    """
    try:
        rows = list(map(_parse, filter(str.strip, read_sample(file).lines)))
    except InputError:
        rows = []  # reading the file reports it, with the line
        nested, names = False, column_names(config)
    else:
        if not rows:
            return None
        nested = not (config.source_column or config.target_column) and isinstance(rows[0].get("translation"), dict)
        names = _find_keys(file, [_inner(row, nested) for row in rows], config)
    first = _inner(rows[0], nested) if rows else {}
    return JsonLayout(*names, nested, (str(first.get(names[0], "")), str(first.get(names[1], ""))))


def _find_keys(file: Path, rows: list[dict[str, Any]], config: DataConfig) -> Pair:
    wanted = column_names(config)
    if set(wanted) <= rows[0].keys():
        return wanted
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_as_cell(row.get(key)) for key in keys] for row in rows]
    source, target = find_columns(Table(str(file), keys, cells, has_order=False), config)
    return keys[source], keys[target]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    return (_parse(line) for line in read_lines(file) if line.strip())


def _inner(row: dict[str, Any], nested: bool) -> dict[str, Any]:
    inner = row.get("translation") if nested else None
    return inner if isinstance(inner, dict) else row


def _as_cell(value: Any) -> str:
    return "" if value is None else str(value)[:SAMPLE_CHARACTERS]


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON ({error.msg}, at character {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or thousands of brackets
        raise InputError(f"JSON that cannot be read ({error})") from error
    if not isinstance(row, dict):
        raise InputError("not a JSON object. Write an object with a key for each column.")
    return row


def _reject_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise InputError(f"the text contains the lone surrogate \\u{code:04x}. Repair its encoding.") from error
