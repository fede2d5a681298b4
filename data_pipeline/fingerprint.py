"""One short name for everything that decides what `prepare` writes."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_pipeline.builtin.arithmetic import ARITHMETIC_VERSION
from data_pipeline.builtin.grammar import GRAMMAR_VERSION
from data_pipeline.config import DataConfig
from data_pipeline.sources.names import CorpusSpec, corpus_value, find_files, find_tokenizer, parse_specs

FORMAT = 1  # raise it when the same configuration and the same text would give other ids or files

# Fields that never change the ids; the corpora enter by what they hold.
_ASIDE = ("train", "valid", "test", "cache_dir", "valid_pairs", "grammar_pairs", "task", "tokenizer")
_COLUMNS = ("source_lang", "target_lang", "source_column", "target_column")
_OF_PAIRS = (*_COLUMNS, "max_length", "max_ratio", "drop_empty", "drop_duplicates", "drop_copies")
_OLD_NAMES = {"prompt_column": "given_column"}  # a renamed field keeps its name in the hash, and old data its name
_OF_TEXT = ("text_column", "prompt_column", "layout", "valid_part", "problems", "digits")


def fingerprint(config: DataConfig) -> str:
    """16 hexadecimal digits. Local files enter with their content, not their names or dates; a data set of the hub
    with its name. Raises FileNotFoundError where a file is missing."""
    train = parse_specs(config.train, config.task)
    value = corpus_value(config, "valid")
    valid = None if value is None else parse_specs(value, config.task)
    known: dict[str, Any] = {"format": FORMAT}
    others = _OF_TEXT if config.task == "translation" else _OF_PAIRS
    fields = {name: value for name, value in asdict(config).items() if name not in (*_ASIDE, *others)}
    known["fields"] = {_OLD_NAMES.get(name, name): value for name, value in fields.items()}
    if config.task == "language_modelling":
        known["kind"] = "text"
    if config.tokenizer is not None:
        known["tokenizer"] = _content(find_tokenizer(config.tokenizer))
    known["train"] = [_identity(spec) for spec in train]
    known["valid"] = config.valid_pairs if valid is None else [_identity(spec) for spec in valid]
    if config.valid is None and any(spec.kind == "set" for spec in valid or []):
        known["valid_pairs"] = config.valid_pairs  # for it may turn out that the set has no validation split
    if any(spec.kind == "grammar" for spec in train + (valid or [])):
        known["grammar_pairs"] = config.grammar_pairs
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _identity(spec: CorpusSpec) -> list[Any]:
    if spec.kind == "grammar":
        return ["grammar", spec.split, GRAMMAR_VERSION]
    if spec.kind == "arithmetic":
        return [spec.path, spec.split, ARITHMETIC_VERSION]
    if spec.kind == "file":
        return [_content(file) for file in find_files(spec.path)]
    if spec.kind == "text":
        return [[_content(file) for file in find_files(pattern)] for pattern in (spec.path, spec.target)]
    if spec.kind == "table":
        return [[_content(file), file.suffixes[-2:]] for file in find_files(spec.path)]
    if (folder := Path(spec.path)).is_dir():
        files = sorted(_visible_files(folder))
        return [[str(file.relative_to(folder)), _content(file)] for file in files] + [spec.config, spec.split]
    return ["hub", spec.path, spec.config, spec.split]


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _content(file: Path) -> str:
    with file.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
