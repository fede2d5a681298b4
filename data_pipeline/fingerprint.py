"""The fingerprint of a data configuration: the name of its prepared data.

It depends on the content of the local files that the configuration names, not on their names or dates. So
`read_sources` also returns which files these are, and can find that one was changed in the meantime.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import COMPRESSED, find_files, sha256
from common.input_bytes import check_rereadable
from data_pipeline.builtin.arithmetic import ARITHMETIC_VERSION
from data_pipeline.builtin.grammar import GRAMMAR_VERSION
from data_pipeline.config import AUGMENTATIONS, DataConfig
from data_pipeline.sources.columns import table_config
from data_pipeline.sources.file_pairs import find_file_pairs
from data_pipeline.sources.hub import CELL_FORMATS
from data_pipeline.sources.names import (
    CorpusSpec,
    corpus_value,
    find_text_files,
    find_tokenizer,
    parse_specs,
    table_format,
)
from data_pipeline.sources.tables import find_layouts

FORMAT = 1
"""Raise it if a change of the code gives other ids or files for the same settings and text."""

READER = "read cell by cell"
"""Part of the fingerprint of folders with tables. Earlier versions changed cells of such folders, such as "NA"."""

# Fields that do not change the prepared ids. The hash has the content of corpora and tokenizer instead of their names.
_NAMES = ("train", "valid", "test", "cache_dir", "tokenizer", "sampling_temperature")
_NOT_HASHED = (*_NAMES, "valid_pairs", "grammar_pairs", "task", "bpe_dropout", *AUGMENTATIONS)
_COLUMNS = ("source_lang", "target_lang", "source_column", "target_column")
_OF_PAIRS = (
    *_COLUMNS,
    "max_length",
    "max_ratio",
    "drop_empty",
    "drop_duplicates",
    "drop_copies",
    "normalize_unicode",
    "number_words",
)
_OLD_NAMES = {"prompt_column": "given_column"}  # renamed fields keep their old name in the hash, so old data are found
_OF_TEXT = ("text_column", "prompt_column", "layout", "valid_part", "problems", "digits")


@dataclass(frozen=True)
class SourceFile:
    """A local file that prepared data come from."""

    setting: str
    """`data.train`, `data.valid` or `data.tokenizer`."""
    path: Path
    state: tuple[int, ...]
    """Size in bytes, and times of the last changes of content and attributes, before `sha256` was taken."""
    sha256: str

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.state[0]


@dataclass(frozen=True)
class Sources:
    """What prepared data come from. `read_sources` makes it."""

    fingerprint: str
    """16 hexadecimal digits that depend on everything that decides the prepared data."""
    files: tuple[SourceFile, ...]

    def check_unchanged(self, config: DataConfig) -> None:
        """Raise InputError if a file was changed, added or removed since `read_sources` began."""
        before = {(file.setting, file.path): file.state for file in self.files}
        try:
            now = {(setting, path): _state(path) for setting, path in _list_files(config)}
        except FileNotFoundError as error:
            raise InputError(f"a file was removed while the data were read ({error}). {AGAIN}") from error
        for setting, path in before | now:
            if before.get((setting, path)) != now.get((setting, path)):
                raise InputError(f"{setting}: {path} was changed, added or removed while the data were read. {AGAIN}")


AGAIN = "Run the same command again when no other program writes to the files"


def fingerprint(config: DataConfig) -> str:
    """Return the fingerprint of a configuration. Raises FileNotFoundError if a file is missing."""
    return read_sources(config).fingerprint


def read_sources(config: DataConfig) -> Sources:
    """Return the fingerprint of a configuration and its local files.

    Local files count by their content; a dataset of the Hub counts by its name. Raises FileNotFoundError if a file is
    missing.
    """
    listed = [(setting, path, _state(path)) for setting, path in _list_files(config)]
    sums = _Sums()
    files = tuple(SourceFile(setting, path, state, sums[path]) for setting, path, state in listed)
    return Sources(_fingerprint(config, sums), files)


class _Sums(dict[Path, str]):
    """The SHA-256 of each file, taken when it is first asked for."""

    def __missing__(self, path: Path) -> str:
        self[path] = sha256(path)
        return self[path]


def _fingerprint(config: DataConfig, sums: _Sums) -> str:
    if config.has_directions:
        return _hash({"directions": [[own.direction, _fingerprint(own, sums)] for own in config.by_direction()]})
    train, valid = _specs(config)
    known: dict[str, Any] = {"format": FORMAT}
    others = _OF_TEXT if config.task == "translation" else _OF_PAIRS
    fields = {name: value for name, value in asdict(config).items() if name not in (*_NOT_HASHED, *others)}
    if fields.get("normalize_unicode"):
        del fields["normalize_unicode"]  # the rule of versions that had no such setting
    if not fields.get("number_words"):
        fields.pop("number_words", None)  # likewise
    known["fields"] = {_OLD_NAMES.get(name, name): value for name, value in fields.items()}
    if config.task == "language_modelling":
        known["kind"] = "text"
    if config.tokenizer is not None:
        known["tokenizer"] = sums[find_tokenizer(config.tokenizer)]
    known["train"] = [_identity(spec, config, sums) for spec in train]
    known["valid"] = config.valid_pairs if valid is None else [_identity(spec, config, sums) for spec in valid]
    if config.valid is None and any(spec.kind == "dataset" for spec in valid or []):
        known["valid_pairs"] = config.valid_pairs  # if the dataset has no validation split, this many are held out
    if any(spec.kind == "grammar" for spec in train + (valid or [])):
        known["grammar_pairs"] = config.grammar_pairs
    return _hash(known)


def _hash(known: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _specs(config: DataConfig) -> tuple[list[CorpusSpec], list[CorpusSpec] | None]:
    """Return the corpora of `train` and `valid`. None: validation data are held out of `train`."""
    value = corpus_value(config, "valid")
    return parse_specs(config.train, config.task), None if value is None else parse_specs(value, config.task)


def _list_files(config: DataConfig) -> list[tuple[str, Path]]:
    """Return the local files that the prepared data come from, each with its setting."""
    files = []
    for own in config.by_direction():
        train, valid = _specs(own)
        corpora = [("data.train", train), ("data.valid", valid or [])][: 1 if own.valid is None else 2]
        files += [(setting, file) for setting, specs in corpora for spec in specs for file in chain(*_files(spec, own))]
    if config.tokenizer is not None:
        files.append(("data.tokenizer", find_tokenizer(config.tokenizer)))
    return files


def _files(spec: CorpusSpec, config: DataConfig) -> list[list[Path]]:
    """Return the local files of a corpus, for parallel text source files and target files."""
    if spec.kind == "parallel_files":
        pairs = find_file_pairs(spec.path, spec.target, (config.source_lang, config.target_lang))
        return [list(files) for files in zip(*pairs, strict=True)]
    if spec.kind == "text_files":
        return [find_text_files(spec)[0]]
    if spec.kind in ("table", "treebank"):
        return [find_files(spec.path)]
    if spec.kind == "dataset" and Path(spec.path).is_dir():
        return [sorted(_visible_files(Path(spec.path)))]
    return []


def _state(file: Path) -> tuple[int, ...]:
    check_rereadable(file)
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns  # copying a file with its date changes the last one


def _identity(spec: CorpusSpec, config: DataConfig, sums: _Sums) -> list[Any]:
    """Return what decides the content of a corpus."""
    if spec.kind == "grammar":
        return ["grammar", spec.split, GRAMMAR_VERSION]
    if spec.kind == "arithmetic":
        return [spec.path, spec.split, ARITHMETIC_VERSION]
    groups = _files(spec, config)
    if spec.kind == "parallel_files":
        return [[sums[file] for file in files] for files in groups]
    if spec.kind == "text_files":
        return [sums[file] for file in groups[0]]
    if spec.kind == "treebank":
        return ["treebank", *(sums[file] for file in groups[0])]
    if spec.kind == "table":
        layouts = _layouts(spec, groups[0], config)
        return [[sums[file], _table_suffixes(file), *layouts.get(file, [])] for file in groups[0]]
    if groups:
        folder = Path(spec.path)
        names = [[str(file.relative_to(folder)), sums[file]] for file in groups[0]]
        cells = [READER] if any(table_format(file) in CELL_FORMATS for file in groups[0]) else []
        return [*names, spec.config, spec.split, *cells]
    return ["hub", spec.path, spec.config, spec.split]


def _layouts(spec: CorpusSpec, files: list[Path], config: DataConfig) -> dict[Path, list[Any]]:
    """Return the layout of each table that decides its pairs besides its content and the settings."""
    if table_format(spec.path) == ".parquet":
        return {}
    columns = table_config(config)
    return {file: found for file, layout in find_layouts(files, columns) if (found := layout.identity(columns))}


def _table_suffixes(file: Path) -> list[str]:
    """Return the suffixes that decide how a table is read: its format, and its compression."""
    return file.suffixes[-2:] if file.suffix in COMPRESSED else file.suffixes[-1:]


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))
