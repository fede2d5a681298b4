"""Corpora as Hugging Face data sets of two text columns, `source` and `target`.

The hub, local data-set folders and Parquet go through `load_dataset`; text, TSV, CSV, JSON lines and the built-in
corpus are streamed into an Arrow file. Either way the text lies on the disk and is memory-mapped.
"""

import multiprocessing
import pkgutil
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, first_line
from data_pipeline.config import DataConfig
from data_pipeline.sources.names import COMPRESSED, CorpusSpec, Role, find_files, parse_specs, table_format
from data_pipeline.sources.tables import DAMAGED, Pair, column_names, open_binary, read_parallel, read_table

if TYPE_CHECKING:  # slow to import, and not needed where `prepare` finds its cache
    from datasets import Dataset

BATCH = 10_000  # pairs that are in memory at once
GRAMMAR_HELD_OUT = 1000  # pairs of its splits other than train
POOL_FROM = 200_000  # pairs of the built-in corpus from which several processes make them faster
SPLITS: dict[Role, str] = {"train": "train", "valid": "validation", "test": "test"}


class NoSuchSplit(InputError):
    """A data set lacks the split that the role asks for."""


def load(spec: CorpusSpec, config: DataConfig, role: Role, work: Path, threads: int = 1) -> "Dataset":
    """One corpus as a data set of the columns `source` and `target`.

    `work` is a folder for what a local corpus is converted into; it must outlive the data set. `threads` is the
    number of processes for a large built-in corpus. Raises FileNotFoundError, ConnectionError or ValueError, in
    one sentence, where something is missing, out of reach or unreadable; of these, NoSuchSplit where it is the
    split that the role picks.
    """
    if spec.kind == "set" or table_format(spec.path) == ".parquet":
        rows = load_rows(spec, role, work)
        return _to_arrow([], work) if rows is None else _two_columns(rows, config, str(spec))
    return _to_arrow(_stream(spec, config, role, threads), work)


def load_rows(spec: CorpusSpec, role: Role, work: Path) -> "Dataset | None":
    """A data set or a Parquet table with all its columns; None where the table has no row. Raises as `load`."""
    if spec.kind == "set":
        return _load_set(spec, role, work)
    files = _parquet_files(spec, work)
    return _load_dataset(spec, "parquet", None, "train", work, files) if files else None


def load_many(value: Any, config: DataConfig, role: Role, work: Path, threads: int = 1) -> "Dataset":
    """All corpora of a `train`, `valid` or `test`, one after the other. Raises ValueError where it is empty."""
    from datasets import concatenate_datasets

    parts = [load(spec, config, role, work, threads) for spec in parse_specs(value)]
    dataset = concatenate_datasets(parts)
    if len(dataset) == 0:
        raise InputError(f"the corpus data.{role}={value} is empty")
    return dataset


def read_pairs(value: Any, config: DataConfig, role: Role = "test") -> tuple[list[str], list[str]]:
    """Sources and targets of a small corpus (a `CorpusSpec`, or what a configuration may say), as written: no
    filter, nothing normalised, order kept."""
    with tempfile.TemporaryDirectory() as work:
        batches = list(iterate(load_many(value, config, role, Path(work))))
    return [text for batch in batches for text in batch[0]], [text for batch in batches for text in batch[1]]


def iterate(dataset: "Dataset") -> Iterator[tuple[list[str], list[str]]]:
    """Batches of at most `BATCH` sources and their targets. A missing value reads as an empty text."""
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        source, target = ([text or "" for text in table.column(name).to_pylist()] for name in ("source", "target"))
        yield source, target


def _stream(spec: CorpusSpec, config: DataConfig, role: Role, threads: int) -> Iterable[Pair]:
    if spec.kind == "grammar":
        return _grammar(spec.split or role, config, threads)
    if spec.kind == "text":
        return read_parallel(find_files(spec.path), find_files(spec.target))
    return (pair for file in find_files(spec.path) for pair in read_table(file, config))


def _grammar(split: str, config: DataConfig, threads: int) -> Iterator[Pair]:
    pairs = config.grammar_pairs if split == "train" else GRAMMAR_HELD_OUT
    parts = [(start, min(BATCH, pairs - start)) for start in range(0, pairs, BATCH)]
    make = partial(_grammar_part, split, config.seed)
    if threads == 1 or pairs < POOL_FROM:
        for part in parts:
            yield from make(part)
        return
    with multiprocessing.get_context("spawn").Pool(threads) as pool:
        for made in pool.imap(make, parts):
            yield from made


def _grammar_part(split: Any, seed: int, part: tuple[int, int]) -> list[Pair]:
    from data_pipeline.builtin.grammar import generate

    start, size = part
    return list(generate(split, size, seed, start))


def _to_arrow(pairs: Iterable[Pair], work: Path) -> "Dataset":
    import pyarrow as pa
    from datasets import Dataset

    schema = pa.schema({"source": pa.string(), "target": pa.string()})
    rest = iter(pairs)
    with (
        tempfile.NamedTemporaryFile(dir=work, suffix=".arrow", delete=False) as out,
        pa.ipc.new_stream(out, schema) as writer,
    ):
        while batch := list(islice(rest, BATCH)):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return Dataset.from_file(out.name)


def _parquet_files(spec: CorpusSpec, work: Path) -> list[str]:
    """The files of a Parquet table that have a row, for `load_dataset` fails at one without; unpacked."""
    from pyarrow import ArrowInvalid, parquet

    files = []
    for file in find_files(spec.path):
        plain = _unpack(file, work) if file.suffix in COMPRESSED else file
        try:
            if parquet.read_metadata(plain).num_rows:
                files.append(str(plain))
        except (ArrowInvalid, OSError) as error:
            raise InputError(f"{file} cannot be read: {first_line(error)}") from error
    return files


def _unpack(file: Path, work: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=work, suffix=".parquet", delete=False) as out:
        try:
            with open_binary(file) as packed:
                shutil.copyfileobj(packed, out)
        except DAMAGED as error:
            raise InputError(f"{file} is damaged ({error})") from error
    return Path(out.name)


def _load_set(spec: CorpusSpec, role: Role, work: Path) -> "Dataset":
    found = _load_splits(spec, work)
    if spec.split:
        return found
    if SPLITS[role] not in found:
        example = replace(spec, split=next(iter(found)))
        raise NoSuchSplit(
            f"{spec} has no split {SPLITS[role]!r} but {', '.join(map(repr, found))}: "
            f"name one in data.{role}, such as {example}"
        )
    return found[SPLITS[role]]


def _load_splits(spec: CorpusSpec, work: Path) -> Any:
    """The split that is named, otherwise a dictionary of all."""
    folder = Path(spec.path).resolve()  # whole, for `load_dataset` takes a bare "text" or "csv" for a file format
    if not folder.is_dir():
        _refuse_file_format(spec.path)
        return _load_dataset(spec, spec.path, spec.config, spec.split, None)
    if spec.config and (folder / spec.config).is_dir() and not _declares_configs(folder):
        # `load_dataset` knows a local folder's configurations from its README only; a sub-folder is as clear.
        return _load_dataset(spec, str(folder / spec.config), None, spec.split, work)
    return _load_dataset(spec, str(folder), spec.config, spec.split, work)


def _refuse_file_format(name: str) -> None:
    from datasets import packaged_modules

    if name in (module.name for module in pkgutil.iter_modules(packaged_modules.__path__)):
        raise InputError(
            f"{name} is no folder here, and as a data set it would be every file of that format in the current "
            f"folder: name the files, such as x.csv or [x.en, x.de]"
        )


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
    """`datasets.load_dataset`, its errors in one sentence."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        with _silent_libraries():
            return load_dataset(path, name, data_files=data_files, split=split, cache_dir=cache and str(cache))
    except DatasetNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is neither a local folder nor a data set of the Hugging Face hub that this machine may read"
        ) from error
    except ConnectionError as error:
        raise ConnectionError(
            f"the Hugging Face hub cannot be reached for {spec}, which is no folder here and not in the local "
            f"cache: connect once, set HF_HOME to a cache that has it, or name local files or something built in "
            f"(grammar; addition for text) in data.train, data.valid and data.test"
        ) from error
    except DatasetGenerationError as error:
        raise InputError(f"{spec} cannot be read: {first_line(error.__cause__ or error)}") from error
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{spec} cannot be loaded: {first_line(error)}") from error


@contextmanager
def _silent_libraries() -> Iterator[None]:
    # Five announced retries, or Parquet's own complaint, say less than the one sentence that follows them.
    import datasets.utils.logging as of_datasets
    import huggingface_hub.utils.logging as of_hub

    before = of_datasets.get_verbosity(), of_hub.get_verbosity()
    of_datasets.set_verbosity(of_datasets.CRITICAL)
    of_hub.set_verbosity(of_hub.CRITICAL)
    try:
        yield
    finally:
        of_datasets.set_verbosity(before[0])
        of_hub.set_verbosity(before[1])


def _two_columns(dataset: "Dataset", config: DataConfig, name: str) -> "Dataset":
    from datasets import Features, Value

    wanted = column_names(config)
    if not (config.source_column or config.target_column) and "translation" in dataset.column_names:
        dataset = dataset.select_columns("translation").flatten()
        wanted = ("translation." + wanted[0], "translation." + wanted[1])
    cure = "set data.source_lang and data.target_lang, or data.source_column and data.target_column"
    check_text_columns(dataset, wanted, name, cure)
    dataset = dataset.select_columns(list(wanted)).rename_columns(dict(zip(wanted, ("source", "target"), strict=True)))
    text = Features({"source": Value("string"), "target": Value("string")})
    return dataset if dataset.features == text else dataset.cast(text)


def check_text_columns(dataset: "Dataset", columns: Sequence[str], name: str, cure: str) -> None:
    """Raises ValueError where a column is missing, with its cure, or holds something else than text."""
    for column in columns:
        if column not in dataset.column_names:
            raise InputError(
                f"{name} has no column {column!r} but {', '.join(map(repr, dataset.column_names))}: {cure}"
            )
        if getattr(dataset.features[column], "dtype", "") not in ("string", "large_string"):
            raise InputError(f"column {column!r} of {name} holds {dataset.features[column]} and not text")
