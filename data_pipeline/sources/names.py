"""How a corpus is named in the configuration (see `DataConfig`)."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import InputError
from data_pipeline.config import DataConfig, Task

Role = Literal["train", "valid", "test"]

TABLES = (".tsv", ".csv", ".jsonl", ".parquet")
COMPRESSED = (".gz", ".xz")
GRAMMAR_SPLITS = ("train", "valid", "test", "unseen")
ARITHMETIC = ("addition", "calculator")
ARITHMETIC_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus: what kind it is, and where."""

    kind: Literal["grammar", "arithmetic", "text", "file", "table", "set"]
    """The built-in corpus or the built-in problems, two text files, a file of running text, a table, or a data set
    (a local folder or one of the hub)."""

    path: str = ""
    """Source file, text file or table (a glob), folder, or name on the hub or of the built-in problems."""

    target: str = ""
    """Target file (a glob) of parallel text."""

    config: str | None = None
    """Configuration of a data set, such as `de-en`."""

    split: str | None = None
    """Split of a data set or of the built-in corpus; None leaves it to the role."""

    @property
    def has_splits(self) -> bool:
        """True where the role may pick a split of it: a data set or the built-in corpus, none named."""
        return self.kind in ("set", "grammar", "arithmetic") and self.split is None

    def __str__(self) -> str:
        if self.kind == "text":
            return f"[{self.path}, {self.target}]"
        names = ("grammar", self.split) if self.kind == "grammar" else (self.path, self.config, self.split)
        return ":".join(name or "" for name in names).rstrip(":")


def parse_specs(value: Any, task: Task = "translation") -> list[CorpusSpec]:
    """The corpora that a `train`, `valid` or `test` of the configuration names; a `CorpusSpec` names itself.

    Raises ValueError where the form is none that `DataConfig` describes for data of this task, FileNotFoundError
    where a path that can only be local does not exist.
    """
    if isinstance(value, CorpusSpec):
        return [value]
    if task == "language_modelling":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"running text is a name or a list of names, not {value!r}")
        return [_parse_text(name) for name in names]
    if isinstance(value, str):
        return [_parse_name(value)]
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"a corpus is a name or a list of names, not {value!r}")
    if any(isinstance(item, list | tuple) for item in value):
        return [spec for item in value for spec in parse_specs(item)]
    if not all(isinstance(item, str) for item in value):
        raise InputError(f"the corpus {value!r} holds something that is neither a name nor a list of names")
    if len(value) == 1:
        return [_parse_name(value[0])]
    if len(value) == 2:
        return [_parse_parallel(value[0], value[1])]
    raise InputError(
        f"a list of {len(value)} names is no corpus: two names are a source and a target file; "
        f"write several corpora as [[a.en, a.de], [b.tsv]]"
    )


def corpus_value(config: DataConfig, role: Role) -> Any:
    """The corpus of a role: its own where it is set, else the training corpus where that has splits, else None.

    Nothing is looked up: loading a data set may show that it lacks the role's split (`corpus.NoSuchSplit`).
    """
    value = {"train": config.train, "valid": config.valid, "test": config.test}[role]
    if value is not None:
        return value
    specs = parse_specs(config.train, config.task)
    if all(spec.kind == "arithmetic" for spec in specs):
        return [spec.path for spec in specs]  # drawn with repetition: the end of a split is no held-out part of it
    return config.train if all(spec.has_splits for spec in specs) else None


def find_files(pattern: str) -> list[Path]:
    """The files that a path or a glob names, sorted. Raises FileNotFoundError where there is none."""
    path = Path(pattern).expanduser()
    files = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 (it takes absolute patterns)
    files = [file for file in files if file.is_file()]
    if not files:
        raise FileNotFoundError(f"there is no file {pattern} (looked in {Path.cwd()})")
    return files


def find_tokenizer(name: str) -> Path:
    """The file of a vocabulary: itself, or that of a model folder. Raises FileNotFoundError where there is none."""
    path = Path(name).expanduser()
    file = path / "tokenizer.model" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"data.tokenizer: there is no file {file}; name a model folder or its tokenizer.model")
    return file


def table_format(path: str | Path) -> str | None:
    """`.tsv`, `.csv`, `.jsonl` or `.parquet` where the name, less .gz or .xz, ends so; otherwise None."""
    name = Path(path)
    suffix = Path(name.stem).suffix if name.suffix in COMPRESSED else name.suffix
    return suffix if suffix in TABLES else None


def _parse_name(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if head == "grammar":
        if len(rest) > 1 or (rest and rest[0] not in GRAMMAR_SPLITS):
            raise InputError(f"the built-in corpus has the splits {', '.join(GRAMMAR_SPLITS)}, not {name!r}")
        return CorpusSpec("grammar", split=rest[0] if rest else None)
    if table_format(name):
        return CorpusSpec("table", name)
    if Path(name).expanduser().is_file():
        raise InputError(
            f"{name} is one file and no table ({', '.join(TABLES)}): "
            f"parallel text is written as two files, [source, target]"
        )
    return _parse_set(name)


def _parse_text(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if head in ARITHMETIC:
        if len(rest) > 1 or (rest and rest[0] not in ARITHMETIC_SPLITS):
            raise InputError(f"the built-in {head} has the splits {', '.join(ARITHMETIC_SPLITS)}, not {name!r}")
        return CorpusSpec("arithmetic", head, split=rest[0] if rest else None)
    if head == "grammar":
        raise InputError(
            "the built-in corpus grammar holds pairs of sentences: set data.task=translation, or name a text"
        )
    if table_format(name):
        return CorpusSpec("table", name)
    path = Path(name).expanduser()
    if path.is_dir() and (texts := _text_files(path)):
        return CorpusSpec("file", str(path / "*.txt*") if len(texts) > 1 else str(texts[0]))
    if path.is_file() or glob.has_magic(name) or Path(name.removesuffix(".gz").removesuffix(".xz")).suffix == ".txt":
        return CorpusSpec("file", name)
    return _parse_set(name)


def _text_files(folder: Path) -> list[Path]:
    """The files of a folder that holds plain text and nothing else; each is a document."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    plain = [path for path in files if Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix == ".txt"]
    return sorted(plain) if len(plain) == len(files) else []


def _parse_set(name: str) -> CorpusSpec:
    head, *rest = name.split(":")
    if len(rest) > 2 or not head:
        raise InputError(f"{name!r} is no corpus: a data set is written name, name:config or name:config:split")
    folder = Path(head).expanduser()
    if not folder.is_dir() and (head.startswith((".", "/", "~")) or head.count("/") > 1 or glob.has_magic(head)):
        raise FileNotFoundError(f"there is no file or folder {head} (looked in {Path.cwd()})")
    path = str(folder) if folder.is_dir() else head
    return CorpusSpec("set", path, config=(rest or [""])[0] or None, split=rest[1] if len(rest) > 1 else None)


def _parse_parallel(source: str, target: str) -> CorpusSpec:
    for name in (source, target):
        if table_format(name) or name.split(":")[0] == "grammar" or Path(name.split(":")[0]).expanduser().is_dir():
            raise InputError(
                f"[{source}, {target}] would be a source and a target file, and {name} is neither: "
                f"write two corpora as [[{source}], [{target}]]"
            )
    return CorpusSpec("text", source, target=target)
