"""Names of corpora: what `data.train`, `data.valid` and `data.test` may contain (see `DataConfig`)."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import InputError
from common.files import expand, find_files, is_input, plain_suffix
from data_pipeline.config import DataConfig, Task

Role = Literal["train", "valid", "test"]

TABLE_FORMATS = (".tsv", ".csv", ".jsonl", ".parquet")
TREEBANK_FORMATS = (".trees", ".mrg", ".parse", ".ptb")
GRAMMAR_SPLITS = ("train", "valid", "test", "unseen")
ARITHMETIC = ("addition", "calculator")
ARITHMETIC_SPLITS = ("train", "valid", "test")

ABOUT = re.compile(r"(licen[cs]e|readme|copying|notice|changes|changelog|authors|copyright)(?![a-z])", re.IGNORECASE)
"""Beginning of the name of a file that is about the texts of a folder."""


@dataclass(frozen=True)
class CorpusSpec:
    """Kind and location of one corpus."""

    kind: Literal["grammar", "arithmetic", "parallel_files", "text_files", "table", "treebank", "dataset"]
    """`grammar` is the built-in corpus of sentence pairs, `arithmetic` are the built-in problems. `parallel_files` are
    source and target files, `text_files` are files, or a folder of files, for language modelling. `table` is a file
    with columns, `treebank` a file with bracketed trees. `dataset` is a local dataset folder or a dataset on the
    Hugging Face Hub."""

    path: str = ""
    """Source file, text file, table or treebank (each may be a glob pattern), dataset folder, or name on the Hub or of
    the built-in problems."""

    target: str = ""
    """Target file (or a glob pattern) of `parallel_files`."""

    config: str | None = None
    """Configuration of a dataset, such as `de-en`."""

    split: str | None = None
    """Split of a dataset or a built-in corpus. None: the role decides."""

    @property
    def has_splits(self) -> bool:
        """True if the corpus may have a split for each role: a dataset or a built-in corpus without a named split."""
        return self.kind in ("dataset", "grammar", "arithmetic") and self.split is None

    def __str__(self) -> str:
        if self.kind == "parallel_files":
            return f"[{self.path}, {self.target}]"
        names = ("grammar", self.split) if self.kind == "grammar" else (self.path, self.config, self.split)
        return ":".join(name or "" for name in names).rstrip(":")


def parse_specs(value: Any, task: Task = "translation") -> list[CorpusSpec]:
    """Return the corpora that a value of `data.train`, `data.valid` or `data.test` names.

    A `CorpusSpec` is returned as it is.

    Raises:
        InputError: the value is not one of the forms that `DataConfig` lists for this task.
        FileNotFoundError: a path that cannot be a name on the Hub does not exist.
    """
    if isinstance(value, CorpusSpec):
        return [value]
    return _parse_texts(value) if task == "language_modelling" else _parse_pairs(value)


def corpus_value(config: DataConfig, role: Role) -> Any:
    """Return the corpus of a role: its own setting, else `data.train` if that has splits, else None.

    No file or dataset is opened. Loading a dataset may show later that it lacks the split (`hub.NoSuchSplit`).
    """
    value = {"train": config.train, "valid": config.valid, "test": config.test}[role]
    if value is not None:
        return value
    specs = parse_specs(config.train, config.task)
    if all(spec.kind == "arithmetic" for spec in specs):
        return [spec.path for spec in specs]  # drawn with repetition, so the end of a split cannot be held out
    return config.train if all(spec.has_splits for spec in specs) else None


def find_tokenizer(name: str) -> Path:
    """Return the file of a tokenizer: `name` itself, or the tokenizer.model in the model folder `name`.

    Raises FileNotFoundError if there is no such file.
    """
    path = expand(name)
    file = path / "tokenizer.model" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"data.tokenizer={name}: there is no file {file}. Give a model folder or its tokenizer.model."
        )
    return file


def table_format(path: str | Path) -> str | None:
    """Return the table format of a file name without its compression (`.tsv` for a.tsv.gz), or None."""
    suffix = plain_suffix(path)
    return suffix if suffix in TABLE_FORMATS else None


def is_treebank(path: str | Path) -> bool:
    """Return True if a file name without its compression ends as names of treebanks do (`TREEBANK_FORMATS`)."""
    return plain_suffix(path) in TREEBANK_FORMATS


def _parse_pairs(value: Any) -> list[CorpusSpec]:
    if isinstance(value, str):
        return [_parse_pair_name(value)]
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"a corpus must be a name or a list of names, not {value!r}")
    if any(isinstance(item, list | tuple) for item in value):
        return [spec for item in value for spec in _parse_pairs(item)]
    if not all(isinstance(item, str) for item in value):
        raise InputError(f"the corpus {value!r} contains something that is neither a name nor a list of names")
    if len(value) == 1:
        return [_parse_pair_name(value[0])]
    if len(value) == 2:
        return [_parse_parallel_files(value[0], value[1])]
    raise InputError(
        f"a list of {len(value)} names is not a corpus: two names are a source and a target file. "
        f"Write several corpora as [[a.en, a.de], [b.tsv]]."
    )


def _parse_pair_name(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if head == "grammar":
        return CorpusSpec("grammar", split=_built_in_split(head, rest, GRAMMAR_SPLITS))
    if table_format(name):
        return CorpusSpec("table", name)
    if is_treebank(name):
        return CorpusSpec("treebank", name)
    if is_input(expand(name)):
        raise InputError(
            f"{name} is one file but not a table ({', '.join(TABLE_FORMATS)}) or a treebank "
            f"({', '.join(TREEBANK_FORMATS)}). Give parallel text as two files: [source, target]."
        )
    return _parse_dataset(name)


def _parse_parallel_files(source: str, target: str) -> CorpusSpec:
    for name in (source, target):
        head = name.split(":")[0]
        if table_format(name) or is_treebank(name) or head == "grammar" or expand(head).is_dir():
            raise InputError(
                f"[{source}, {target}] means a source file and a target file, but {name} is neither. "
                f"Write two corpora as [[{source}], [{target}]]."
            )
    return CorpusSpec("parallel_files", source, target=target)


def _parse_texts(value: Any) -> list[CorpusSpec]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"a corpus for language modelling must be a name or a list of names, not {value!r}")
    return [_parse_text_name(name) for name in names]


def _parse_text_name(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if head in ARITHMETIC:
        return CorpusSpec("arithmetic", head, split=_built_in_split(head, rest, ARITHMETIC_SPLITS))
    if head == "grammar":
        raise InputError("the built-in corpus grammar has sentence pairs: set data.task=translation, or name a text")
    if table_format(name):
        return CorpusSpec("table", name)
    path = expand(name)
    if path.is_dir() and _find_texts(path):
        return CorpusSpec("text_files", str(path))
    if is_input(path) or glob.has_magic(name) or plain_suffix(name) == ".txt":
        return CorpusSpec("text_files", name)
    return _parse_dataset(name)


def find_text_files(spec: CorpusSpec) -> tuple[list[Path], list[Path]]:
    """Return the files of a text for language modelling, and those that are not read: a folder's README.txt and such.

    Raises FileNotFoundError if there is no file.
    """
    folder = expand(spec.path)
    if not folder.is_dir():
        return find_files(spec.path), []
    about = [file for file in _find_texts(folder) if ABOUT.match(file.name)]
    texts = [file for file in _find_texts(folder) if file not in about]
    return (texts, about) if texts else (about, [])


def _find_texts(folder: Path) -> list[Path]:
    """Return the .txt files of a folder, or an empty list if it also contains other files."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    texts = [path for path in files if plain_suffix(path) == ".txt"]
    return sorted(texts) if len(texts) == len(files) else []


def _built_in_split(name: str, rest: list[str], splits: tuple[str, ...]) -> str | None:
    if not rest:
        return None
    if len(rest) > 1 or rest[0] not in splits:
        raise InputError(
            f"{':'.join([name, *rest])!r}: the built-in corpus {name} has the splits {', '.join(splits)}. "
            f"Write for example {name}:{splits[0]}."
        )
    return rest[0]


def _parse_dataset(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if len(rest) > 2 or not head:
        raise InputError(f"{name!r} is not a corpus. Write a dataset as name, name:config or name:config:split.")
    folder = expand(head)
    if not folder.is_dir() and (head.startswith((".", "/", "~")) or head.count("/") > 1 or glob.has_magic(head)):
        raise FileNotFoundError(f"there is no file or folder {head} (looked in {Path.cwd()})")
    path = str(folder) if folder.is_dir() else head
    return CorpusSpec("dataset", path, config=(rest or [""])[0] or None, split=rest[1] if len(rest) > 1 else None)
