"""Columns of a table: which contain source and target. They are found if that is certain; otherwise the user is asked.

A column is named by the settings, or by its header: the code or the name of a language, or words such as `source`.
Without a header, numbers, identifiers, labels and the like are set aside. The columns are certain if two text columns
are left, or if exactly one is in each language.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.languages import all_names, find_language, guess, names_of, profile

Kind = Literal["text", "number", "identifier", "label", "fixed words", "nothing"]

SHOWN = 60
"""Characters of a cell in a message."""
MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "-"])
"""Cells of a column of numbers that have no number."""
MOST = 0.95
"""A column is of a kind if at least this share of its cells is."""
FEWEST_ROWS = 20
"""Rows from which few different values, or the same words in all rows, show that a column is not text."""
SOURCE_WORDS, TARGET_WORDS = frozenset(["source", "src"]), frozenset(["target", "tgt", "trg"])
_OTHER_HEADER_WORDS = """
id ids index idx nr number score scores laser split domain url ref mt text sentence sentences translation translations
original reference hypothesis lang language langs pair licence license
"""
HEADER_WORDS = SOURCE_WORDS | TARGET_WORDS | set(_OTHER_HEADER_WORDS.split())
"""Words that a header contains and a first row of text hardly."""


@dataclass(frozen=True)
class Table:
    """The first rows of a table."""

    where: str
    """File or dataset, for messages."""
    names: list[str] | None
    """Names of the columns. None: the table has no header."""
    rows: list[list[str]] = field(repr=False)
    has_order: bool = True
    """False: the columns have no numbers, as in JSON."""

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names if self.names is not None else self.rows[0] if self.rows else [])

    @cached_property
    def kinds(self) -> list[Kind]:
        """Kind of each column."""
        return [find_kind(self.column(i)) for i in range(self.width)]

    def column(self, index: int) -> list[str]:
        """Return the cells of a column."""
        return [row[index] for row in self.rows if index < len(row)]

    def text_columns(self) -> list[int]:
        """Return the columns with text. Of two columns, each counts unless it has only numbers or nothing."""
        usable = [i for i, kind in enumerate(self.kinds) if kind not in ("number", "nothing")]
        if self.width == 2:
            return usable
        return [i for i in usable if self.kinds[i] == "text"]

    def describe(self) -> str:
        """Return all columns, each with a sample."""
        return ", ".join(self.describe_column(i) for i in range(self.width)) or "none"

    def describe_column(self, index: int) -> str:
        """Return number or name of a column, its kind unless that is text, and a sample."""
        name = str(index + 1) if self.names is None else repr(self.names[index])
        kind = "" if self.kinds[index] == "text" else f"{self.kinds[index]}, "
        sample = next((cell for cell in self.column(index) if cell.strip()), "")
        return f"{name} ({kind}such as {quote(sample)})" if sample else f"{name} (nothing)"


def quote(text: str) -> str:
    """Return a text as one line for a message: in quotation marks, shortened, control characters escaped."""
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def find_columns(table: Table, config: DataConfig) -> tuple[int, int]:
    """Return the columns with source and target, or with prompt and text.

    Raises InputError, which lists the columns, if they are not certain.
    """
    wanted = (config.source_column, config.target_column)
    explicit = [None if name is None else _find_setting(table, name, config) for name in wanted]
    if explicit[0] is not None and explicit[1] is not None:
        return explicit[0], explicit[1]
    names = [_find_name(table, lang, words) for lang, words in zip(_langs(config), _WORDS, strict=True)]
    named = [names[i] if column is None else column for i, column in enumerate(explicit)]
    if named[0] is not None and named[1] is not None and named[0] != named[1]:
        return named[0], named[1]
    if table.names is not None:
        raise _no_column(table, config.source_lang if named[0] is None else config.target_lang, config)
    return _find_by_content(table, config, explicit)


_WORDS = (SOURCE_WORDS, TARGET_WORDS)


def is_header(table: Table, config: DataConfig, usual: bool) -> bool:
    """Return True if the first row names the columns. Raises InputError if it may be a header or text.

    Args:
        table: rows with the first row, and without names.
        usual: True if tables of this format usually have a header, so that a first row of single words is doubtful.
    """
    first, rest = table.rows[0], Table(table.where, None, table.rows[1:])
    as_header = Table(table.where, first, table.rows[1:])
    settings = [name for name in (config.source_column, config.target_column) if name is not None]
    if any(name in first for name in settings) or any(not name.isdecimal() for name in settings):
        return True
    if all(_find_name(as_header, lang, words) is not None for lang, words in zip(_langs(config), _WORDS, strict=True)):
        return True
    if _has_header_words(first, config):
        return True
    if len(rest.rows) > 1 and any(
        find_kind(rest.column(i)) == "number" and not _is_number(cell) and cell.strip() for i, cell in enumerate(first)
    ):
        return True
    doubtful = _is_short(first) and any(_is_name(cell) for cell in first)
    if not settings and (
        doubtful or _may_be_header(first, rest) or (usual and _is_short(first) and not _recurs(first, rest))
    ):
        raise InputError(
            f"{table.where}, line 1: it is not certain whether {', '.join(map(quote, first))} is a header or text. If "
            f"it is a header, set data.source_column and data.target_column to two of its names; if it is text, to "
            f"the numbers of the columns, such as data.source_column=1 data.target_column=2."
        )
    return False


def find_kind(cells: Sequence[str]) -> Kind:
    """Return what a column contains."""
    found = [cell.strip() for cell in cells]
    numbers = [cell for cell in found if cell.casefold() not in MISSING]
    found = [cell for cell in found if cell]
    if not found:
        return "nothing"
    if numbers and sum(map(_is_number, numbers)) >= MOST * len(numbers):
        return "number"
    if sum(map(_is_identifier, found)) >= MOST * len(found):
        return "identifier"
    different = len(set(found))
    if different <= max(2, len(found) / 20) and len(found) > 1 and all(map(_is_language, found)):
        return "label"
    if len(found) >= FEWEST_ROWS and different <= len(found) / 10 and not any(" " in cell for cell in found):
        return "label" if all(cell.isascii() for cell in found) else "text"
    return "fixed words" if len(found) >= FEWEST_ROWS and different > 1 and _repeats_words(found) else "text"


def _langs(config: DataConfig) -> tuple[str, str]:
    return config.source_lang, config.target_lang


def _find_setting(table: Table, name: str, config: DataConfig) -> int:
    """Return the column that a setting names: by its name, or else by its number, counted from 1."""
    if table.names is not None and name in table.names:
        return table.names.index(name)
    if table.has_order and name.isdecimal() and 1 <= int(name) <= table.width:
        return int(name) - 1
    raise _no_column(table, name, config)


def _find_name(table: Table, lang: str, words: frozenset[str]) -> int | None:
    """Return the column whose name is the language, else contains it, else contains one of `words`; None if unclear."""
    if table.names is None:
        return None
    if lang in table.names:
        return table.names.index(lang)
    usable = [i for i, kind in enumerate(table.kinds) if kind in ("text", "nothing") or table.width == 2]
    folded = {i: table.names[i].strip().casefold() for i in usable}
    for matches in (
        [i for i, name in folded.items() if name in names_of(lang)],
        [i for i, name in folded.items() if set(_words(name)) & names_of(lang)],
        [i for i, name in folded.items() if set(_words(name)) & words],
    ):
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def _no_column(table: Table, name: str, config: DataConfig) -> InputError:
    noun = "column" if table.has_order else "key"
    return InputError(
        f"{table.where} has no {noun} {name!r}; its {noun}s are: {table.describe()}. {columns_hint(config, table)}"
    )


def _find_by_content(table: Table, config: DataConfig, explicit: Sequence[int | None]) -> tuple[int, int]:
    texts = [i for i in table.text_columns() if i not in explicit]
    missing = explicit.count(None)
    if len(texts) > missing:
        texts = _in_languages(table, texts, config, explicit)
    if len(texts) != missing:
        raise InputError(
            f"{table.where}: which columns contain the source ({config.source_lang}) and the target "
            f"({config.target_lang}) is not certain; the columns are: {table.describe()}. {columns_hint(config, table)}"
        )
    source = texts[0] if explicit[0] is None else explicit[0]
    return source, texts[-1] if explicit[1] is None else explicit[1]


def _in_languages(table: Table, texts: Sequence[int], config: DataConfig, explicit: Sequence[int | None]) -> list[int]:
    """Return the columns in the languages whose column is not known, or [] if they are not certain."""
    languages = [find_language(lang) for lang in _langs(config)]
    known = [language for language in languages if language]
    looks = {i: guess(profile(table.column(i)), known) for i in texts}
    wanted = [language for language, column in zip(languages, explicit, strict=True) if column is None]
    found = [[i for i, language in looks.items() if language == one and one is not None] for one in wanted]
    return [columns[0] for columns in found] if all(len(columns) == 1 for columns in found) else []


def describe_taken(columns: tuple[str, str], example: tuple[str, str], config: DataConfig) -> str:
    """Return which columns are read, with the first cell of each. For text without a prompt there is one column."""
    names = ("source", "target") if config.task == "translation" else ("prompt", "text")
    found = list(zip(names, columns, map(quote, example), strict=True))
    return ", ".join(f"{name} is {column}, such as {cell}" for name, column, cell in found[columns[0] == columns[1] :])


def column_names(config: DataConfig) -> tuple[str, str]:
    """Return the names of the columns with source and target if they are not looked for: settings, or languages."""
    return config.source_column or config.source_lang, config.target_column or config.target_lang


def table_config(config: DataConfig) -> DataConfig:
    """Return the settings with which tables are read: for language modelling, source is the prompt, target the text."""
    if config.task == "translation":
        return config
    return replace(config, source_column=config.prompt_column or config.text_column, target_column=config.text_column)


def columns_hint(config: DataConfig, table: Table) -> str:
    """Return the settings that name the columns, for an error message."""
    to = "to names or numbers, such as data.{}=2" if table.has_order else "to names from this list"
    if config.task == "language_modelling":
        return f"Set data.text_column (and data.prompt_column) {to.format('text_column')}."
    return f"Set data.source_column and data.target_column {to.format('source_column')}."


def _has_header_words(first: Sequence[str], config: DataConfig) -> bool:
    """Return True if each cell contains a word of headers. The pair "it", "es" is no header of English and German."""
    cells = [cell.strip().casefold() for cell in first if cell.strip()]
    languages = [find_language(lang) for lang in _langs(config)]
    common = {word for language in languages if language for word in language.words}
    named = [set(_words(cell)) & (HEADER_WORDS | all_names()) for cell in cells]
    return len(cells) > 1 and _is_short(first) and all(named) and any(not names <= common for names in named)


def _is_name(cell: str) -> bool:
    """Return True for the name of a language, not its code, and for "source" and "target"."""
    word = cell.strip().casefold()
    return word in SOURCE_WORDS | TARGET_WORDS or (len(word) > 3 and word in all_names())


def _recurs(first: Sequence[str], rest: Table) -> bool:
    return any(cell in rest.column(i) for i, cell in enumerate(first))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", name)


def _is_short(cells: Sequence[str]) -> bool:
    return all(len(_words(cell)) <= 3 and not _ends_sentence(cell) for cell in cells)


def _may_be_header(first: Sequence[str], rest: Table) -> bool:
    """Return True if the first row differs from the others as a header differs from sentences."""
    texts = [(cell, rest.column(i)) for i, cell in enumerate(first) if find_kind(rest.column(i)) == "text"]
    if not texts or any(
        len(cell.split()) > 2 or not cell.strip() or _ends_sentence(cell) or cell in column for cell, column in texts
    ):
        return False
    return all(sum(map(_is_sentence, column)) >= 0.9 * len(column) for _, column in texts)


def _is_sentence(text: str) -> bool:
    return _ends_sentence(text) or len(text.split()) > 3


def _ends_sentence(text: str) -> bool:
    return text.rstrip("\"'”“»«)） ").endswith((".", "!", "?", "…", "。", "！", "？", "।", "؟", "።"))


def _is_number(cell: str) -> bool:
    text = cell.strip()
    if re.fullmatch(r"[-+]?[\d.,]+[eE][-+]?\d+", text):
        return True
    return any(map(str.isdigit, text)) and not any(map(str.isalpha, text)) and not any(map(str.isspace, text))


def _is_identifier(cell: str) -> bool:
    """Return True for a URL, a path, a hash, or a name with digits or underscores: one word in ASCII."""
    if not cell.isascii() or " " in cell or not re.search(r"[A-Za-z0-9]", cell):
        return False
    return "://" in cell or "_" in cell or ("/" in cell and len(cell) > 3) or any(map(str.isdigit, cell))


def _is_language(cell: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?", cell)) and find_language(cell) is not None


def _repeats_words(cells: Sequence[str]) -> bool:
    """Return True if at least half of the words are the same in nearly all cells, as in a column of licences."""
    rows = Counter(word for cell in cells for word in set(cell.split()))
    everywhere = {word for word, count in rows.items() if count >= 0.8 * len(cells)}
    words = [word for cell in cells for word in cell.split()]
    return sum(word in everywhere for word in words) >= 0.5 * len(words)
