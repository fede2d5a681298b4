"""Rows of datasets on the Hugging Face Hub, of local dataset folders and of Parquet files, through `load_dataset`.

They are memory-mapped from the disk.
"""

import glob
import pkgutil
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from common.errors import InputError, first_line
from common.files import COMPRESSED, find_files
from common.input_bytes import DAMAGED, open_bytes
from data_pipeline.sources.names import CorpusSpec, Role

if TYPE_CHECKING:  # slow import, not needed if `prepare` finds its cache
    from datasets import Dataset

SPLITS: dict[Role, str] = {"train": "train", "valid": "validation", "test": "test"}
FILE_FORMATS = frozenset(["arrow", "csv", "json", "pandas", "parquet", "text", "webdataset", "xml"])
"""Names that `load_dataset` takes as a file format and not as a dataset, in every version of `datasets`."""


class NoSuchSplit(InputError):
    """A dataset lacks the split that the role needs."""


def load_rows(spec: CorpusSpec, role: Role, work: Path) -> "Dataset | None":
    """Return a dataset or a Parquet table with all its columns, or None if the table has no rows.

    Args:
        work: folder for what local files are converted into. It must exist as long as the rows are used.

    Raises:
        NoSuchSplit: the dataset lacks the split of the role, and `spec` names no other.
        InputError: a file is damaged, or the dataset lacks the configuration or split that `spec` names.
        FileNotFoundError: there is no such dataset.
        ConnectionError: the Hub does not answer, and the local cache does not contain the dataset.
    """
    if spec.kind == "dataset":
        return _load_split(spec, role, work)
    files = _find_parquet_files(spec, work)
    return _load_dataset(spec, "parquet", None, "train", work, files) if files else None


def check_text_columns(rows: "Dataset", columns: Sequence[str], name: str, hint: str) -> None:
    """Raise InputError if a column is missing or does not contain text. The message ends with `hint` if it is missing.

    Args:
        name: name of the dataset, for the message.
    """
    for column in columns:
        if column not in rows.column_names:
            raise InputError(
                f"{name} has no column {column!r}; its columns are: {', '.join(map(repr, rows.column_names))}. {hint}"
            )
        if getattr(rows.features[column], "dtype", "") not in ("string", "large_string"):
            raise InputError(f"column {column!r} of {name} contains {rows.features[column]}, not text")


def _find_parquet_files(spec: CorpusSpec, work: Path) -> list[str]:
    """Return the Parquet files that have rows, decompressed. `load_dataset` fails for files without rows."""
    from pyarrow import ArrowInvalid, parquet

    files = []
    for file in find_files(spec.path):
        plain = _decompress(file, work) if file.suffix in COMPRESSED else file
        try:
            rows = parquet.read_metadata(plain).num_rows
        except (ArrowInvalid, OSError) as error:
            raise InputError(f"{file} cannot be read as Parquet ({first_line(error)}). Copy it again.") from error
        if rows:
            files.append(glob.escape(str(plain)))  # `load_dataset` expands patterns
    return files


def _decompress(file: Path, work: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=work, suffix=".parquet", delete=False) as out:
        try:
            with open_bytes(file) as compressed:
                shutil.copyfileobj(compressed, out)
        except (*DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the operating system, such as a full disk
                raise
            raise InputError(f"{file} is damaged ({error}). Copy it again.") from error
    return Path(out.name)


def _load_split(spec: CorpusSpec, role: Role, work: Path) -> "Dataset":
    found = _load_splits(spec, work)
    if spec.split:
        return found
    if SPLITS[role] not in found:
        example = replace(spec, split=next(iter(found)))
        raise NoSuchSplit(
            f"{spec} has no split {SPLITS[role]!r}; its splits are: {', '.join(map(repr, found))}. "
            f"Name one in data.{role}, for example {example}."
        )
    return found[SPLITS[role]]


def _load_splits(spec: CorpusSpec, work: Path) -> Any:
    """Return the split that `spec` names, or else a dictionary of all splits."""
    folder = Path(spec.path).resolve()  # an absolute path, because `load_dataset` takes "csv" for a file format
    if not folder.is_dir():
        if _is_file_format(spec.path):
            raise InputError(
                f"there is no folder {spec.path}, and as a name on the Hub it would mean all files of this format in "
                f"the current folder. Name the files, for example x.csv or [x.en, x.de]."
            )
        return _load_dataset(spec, spec.path, spec.config, spec.split, None)
    if glob.has_magic(str(folder)):
        raise InputError(
            f"the library datasets cannot read the folder {folder}, because its path contains [, * or ?. Rename it."
        )
    if spec.config and (folder / spec.config).is_dir() and not _declares_configs(folder):
        # `load_dataset` finds the configurations of a local folder only in its README. A subfolder is clear enough.
        return _load_dataset(spec, str(folder / spec.config), None, spec.split, work)
    return _load_dataset(spec, str(folder), spec.config, spec.split, work)


def _is_file_format(name: str) -> bool:
    try:
        from datasets import packaged_modules  # undocumented: one module for each format of the installed version
    except ImportError:
        return name in FILE_FORMATS
    return name in FILE_FORMATS or name in {module.name for module in pkgutil.iter_modules(packaged_modules.__path__)}


def _declares_configs(folder: Path) -> bool:
    readme = folder / "README.md"
    return readme.is_file() and "\nconfigs:" in readme.read_text(encoding="utf-8", errors="replace")


def _load_dataset(
    spec: CorpusSpec,
    path: str,
    name: str | None,
    split: str | None,
    cache: Path | None,
    data_files: list[str] | None = None,
) -> Any:
    """Call `datasets.load_dataset` and raise its errors as one sentence for the user."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        with _silent_libraries():
            return load_dataset(path, name, data_files=data_files, split=split, cache_dir=cache and str(cache))
    except DatasetNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is neither a local folder nor a dataset on the Hugging Face Hub that you may read"
        ) from error
    except ConnectionError as error:
        raise ConnectionError(
            f"the Hugging Face Hub does not answer, and {spec} is neither a local folder nor in the local cache. "
            f"Connect to the network once, set HF_HOME to a cache that contains it, or name local files or a "
            f"built-in corpus (grammar; addition for language modelling) in data.train, data.valid and data.test."
        ) from error
    except DatasetGenerationError as error:
        raise InputError(f"{spec} cannot be read: {first_line(error.__cause__ or error)}") from error
    except (ValueError, RuntimeError, yaml.YAMLError, zipfile.BadZipFile) as error:
        raise InputError(f"{spec} cannot be loaded: {first_line(error)}") from error


@contextmanager
def _silent_libraries() -> Iterator[None]:
    # The libraries log up to five retries and Parquet's messages, before an error that contains all of it.
    import datasets.utils.logging as datasets_logging
    import huggingface_hub.utils.logging as hub_logging

    before = datasets_logging.get_verbosity(), hub_logging.get_verbosity()
    datasets_logging.set_verbosity(datasets_logging.CRITICAL)
    hub_logging.set_verbosity(hub_logging.CRITICAL)
    try:
        yield
    finally:
        datasets_logging.set_verbosity(before[0])
        hub_logging.set_verbosity(before[1])
