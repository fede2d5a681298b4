"""Rows of datasets on the Hugging Face Hub, of local dataset folders and of Parquet files, through `load_dataset`.

They are memory-mapped from the disk.
"""

import glob
import hashlib
import pkgutil
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from common.errors import InputError, first_line
from common.files import COMPRESSED, find_files
from common.input_bytes import DAMAGED, open_bytes
from common.notes import print_note
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import Table, find_columns
from data_pipeline.sources.names import CorpusSpec, Role, table_format
from data_pipeline.sources.table_layout import SAMPLE, SAMPLE_CHARACTERS

if TYPE_CHECKING:  # slow import, not needed if `prepare` finds its cache
    from datasets import Dataset

SPLITS: dict[Role, str] = {"train": "train", "valid": "validation", "test": "test"}
FILE_FORMATS = frozenset(["arrow", "csv", "json", "pandas", "parquet", "text", "webdataset", "xml"])
"""Names that `load_dataset` takes as a file format and not as a dataset, in every version of `datasets`."""

CELL_FORMATS = (".tsv", ".csv", ".jsonl")
"""Tables that this project reads cell by cell, without `datasets`."""


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


def find_tables(
    spec: CorpusSpec, role: Role, work: Path, note: Callable[[str], None] = print_note
) -> list[Path] | None:
    """Return the files of a corpus of TSV, CSV and JSON lines, or None if it is of another kind.

    Such files are not left to `load_dataset`, which changes cells: "NA" becomes an empty text, "007" a number. A
    dataset may have them, as a local folder or on the Hub.

    Raises as `load_rows`.
    """
    if spec.kind == "table":
        return None if table_format(spec.path) == ".parquet" else find_files(spec.path)
    if spec.kind != "dataset":
        return None
    splits = _find_data_files(spec, work)
    files = [file for names in splits.values() for file in names]
    if not files or not all(table_format(file) in CELL_FORMATS for file in files):
        return None
    _report_ignored(spec, files, note)
    split = spec.split or SPLITS[role]
    if split in splits:
        return [_fetch(file, work) for file in splits[split]]
    found = f"its splits are: {', '.join(map(repr, splits))}"
    if spec.split:
        raise InputError(f"{spec} cannot be loaded: Unknown split {split!r}; {found}")
    raise _no_split(spec, role, splits)


def _find_data_files(spec: CorpusSpec, work: Path) -> dict[str, list[str]]:
    """Return paths or URLs of the files of each split, or {} if the dataset is not made of files."""
    from datasets import load_dataset_builder

    path, name, local = _locate(spec)
    builder = _call(spec, path, lambda: load_dataset_builder(path, name, cache_dir=str(work) if local else None))
    found = builder.config.data_files or {}
    return {str(split): [str(file) for file in files] for split, files in found.items()}


def _report_ignored(spec: CorpusSpec, files: Sequence[str], note: Callable[[str], None]) -> None:
    """Report the tables of a local folder that belong to no split."""
    folder, used = Path(spec.path).resolve(), {Path(file).resolve() for file in files}
    if not folder.is_dir() or spec.config or _declares_configs(folder):
        return
    others = [file for file in sorted(folder.rglob("*")) if table_format(file) and file.resolve() not in used]
    if others:
        names = ", ".join(str(file.relative_to(folder)) for file in others)
        note(
            f"warning: not read in {spec}: {names}. Their names or formats differ from those that are read "
            f"({Path(files[0]).name}, …). To read them, name the files instead of the folder."
        )


def _fetch(file: str, work: Path) -> Path:
    """Return a file of a dataset, downloaded to the cache of the Hub if it is not local."""
    if "://" not in file:
        return Path(file)
    from datasets import DownloadManager

    link = work / f"{hashlib.sha256(file.encode()).hexdigest()[:8]}-{file.rsplit('/', 1)[-1]}"
    if not link.exists():
        link.symlink_to(DownloadManager().download(file))
    return link


def find_row_columns(
    rows: "Dataset", config: DataConfig, name: str, prefix: str = ""
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the names of the columns with source and target (or prompt and text), and the first row's two texts.

    Args:
        name: name of the dataset, for messages.
        prefix: beginning of all names that is not part of them.

    Raises InputError if the columns are not certain, or do not contain text.
    """
    texts = [column for column in rows.column_names if _is_text(rows, column)]
    sample = rows.select_columns(texts)[:SAMPLE] if texts else {}
    cells = {column: [(cell or "")[:SAMPLE_CHARACTERS] for cell in sample[column]] for column in texts}
    names = rows.column_names
    shown = [column.removeprefix(prefix) for column in names]
    count = max(map(len, cells.values()), default=0)
    rows_of_cells = [[cells[column][i] if column in cells else "" for column in names] for i in range(count)]
    source, target = find_columns(Table(name, shown, rows_of_cells), config)
    for column in (names[source], names[target]):
        if column not in texts:
            raise InputError(f"column {column!r} of {name} contains {rows.features[column]}, not text")
    first = [cells[names[i]][0] if cells[names[i]] else "" for i in (source, target)]
    return (names[source], names[target]), (first[0], first[1])


def _is_text(rows: "Dataset", column: str) -> bool:
    return getattr(rows.features[column], "dtype", "") in ("string", "large_string")


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
        raise _no_split(spec, role, found)
    return found[SPLITS[role]]


def _no_split(spec: CorpusSpec, role: Role, found: Iterable[str]) -> NoSuchSplit:
    example = replace(spec, split=next(iter(found)))
    return NoSuchSplit(
        f"{spec} has no split {SPLITS[role]!r}; its splits are: {', '.join(map(repr, found))}. "
        f"Name one in data.{role}, for example {example}."
    )


def _load_splits(spec: CorpusSpec, work: Path) -> Any:
    """Return the split that `spec` names, or else a dictionary of all splits."""
    path, name, local = _locate(spec)
    return _load_dataset(spec, path, name, spec.split, work if local else None)


def _locate(spec: CorpusSpec) -> tuple[str, str | None, bool]:
    """Return path and configuration for `load_dataset`, and True if the dataset is a local folder."""
    folder = Path(spec.path).resolve()  # an absolute path, because `load_dataset` takes "csv" for a file format
    if not folder.is_dir():
        if _is_file_format(spec.path):
            raise InputError(
                f"there is no folder {spec.path}, and as a name on the Hub it would mean all files of this format in "
                f"the current folder. Name the files, for example x.csv or [x.en, x.de]."
            )
        return spec.path, spec.config, False
    if glob.has_magic(str(folder)):
        raise InputError(
            f"the library datasets cannot read the folder {folder}, because its path contains [, * or ?. Rename it."
        )
    if spec.config and (folder / spec.config).is_dir() and not _declares_configs(folder):
        # `load_dataset` finds the configurations of a local folder only in its README. A subfolder is clear enough.
        return str(folder / spec.config), None, True
    return str(folder), spec.config, True


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
    from datasets import load_dataset

    cache_dir = cache and str(cache)
    return _call(spec, path, lambda: load_dataset(path, name, data_files=data_files, split=split, cache_dir=cache_dir))


def _call(spec: CorpusSpec, path: str, load: Callable[[], Any]) -> Any:
    """Call a function of `datasets` and raise its errors as one sentence for the user."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        with _silent_libraries():
            return load()
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
