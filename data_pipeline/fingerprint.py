"""The fingerprint of a data configuration: the name of its prepared data."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.files import find_files, sha256
from data_pipeline.builtin.arithmetic import ARITHMETIC_VERSION
from data_pipeline.builtin.grammar import GRAMMAR_VERSION
from data_pipeline.config import DataConfig
from data_pipeline.sources.names import CorpusSpec, corpus_value, find_tokenizer, parse_specs

FORMAT = 1
"""Raise it if a change of the code gives other ids or files for the same settings and text."""

# Fields that do not change the ids. The hash contains the content of corpora and tokenizer instead of their names.
_NOT_HASHED = ("train", "valid", "test", "cache_dir", "valid_pairs", "grammar_pairs", "task", "tokenizer")
_COLUMNS = ("source_lang", "target_lang", "source_column", "target_column")
_OF_PAIRS = (*_COLUMNS, "max_length", "max_ratio", "drop_empty", "drop_duplicates", "drop_copies")
_OLD_NAMES = {"prompt_column": "given_column"}  # renamed fields keep their old name in the hash, so old data are found
_OF_TEXT = ("text_column", "prompt_column", "layout", "valid_part", "problems", "digits")


def fingerprint(config: DataConfig) -> str:
    """Return 16 hexadecimal digits that depend on everything that decides the prepared data.

    Local files count by their content, not by their names or dates; a dataset of the Hub counts by its name. Raises
    FileNotFoundError if a file is missing.
    """
    train = parse_specs(config.train, config.task)
    value = corpus_value(config, "valid")
    valid = None if value is None else parse_specs(value, config.task)
    known: dict[str, Any] = {"format": FORMAT}
    others = _OF_TEXT if config.task == "translation" else _OF_PAIRS
    fields = {name: value for name, value in asdict(config).items() if name not in (*_NOT_HASHED, *others)}
    known["fields"] = {_OLD_NAMES.get(name, name): value for name, value in fields.items()}
    if config.task == "language_modelling":
        known["kind"] = "text"
    if config.tokenizer is not None:
        known["tokenizer"] = sha256(find_tokenizer(config.tokenizer))
    known["train"] = [_identity(spec) for spec in train]
    known["valid"] = config.valid_pairs if valid is None else [_identity(spec) for spec in valid]
    if config.valid is None and any(spec.kind == "dataset" for spec in valid or []):
        known["valid_pairs"] = config.valid_pairs  # if the dataset has no validation split, this many are held out
    if any(spec.kind == "grammar" for spec in train + (valid or [])):
        known["grammar_pairs"] = config.grammar_pairs
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _identity(spec: CorpusSpec) -> list[Any]:
    if spec.kind == "grammar":
        return ["grammar", spec.split, GRAMMAR_VERSION]
    if spec.kind == "arithmetic":
        return [spec.path, spec.split, ARITHMETIC_VERSION]
    if spec.kind == "text_files":
        return [sha256(file) for file in find_files(spec.path)]
    if spec.kind == "parallel_files":
        return [[sha256(file) for file in find_files(pattern)] for pattern in (spec.path, spec.target)]
    if spec.kind == "table":
        return [[sha256(file), file.suffixes[-2:]] for file in find_files(spec.path)]
    if (folder := Path(spec.path)).is_dir():
        files = sorted(_visible_files(folder))
        return [[str(file.relative_to(folder)), sha256(file)] for file in files] + [spec.config, spec.split]
    return ["hub", spec.path, spec.config, spec.split]


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))
