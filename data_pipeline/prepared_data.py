"""Prepared data: everything that training reads. `prepare` finds the data of a configuration, or creates them once.

They are in `cache_dir/<fingerprint>/`. That folder appears by one rename when it is complete. So a second call opens it
at once, and a killed process leaves no folder that looks complete. A lock file for each fingerprint lets only one
process at a time create the same data; the others wait and, if it is a large corpus of sentence pairs, compute some of
its groups. The folder has checksums, which are compared when it is opened: damaged data are created again.
"""

import errno
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from common.checksums import is_whole, read_checksums, remove_damaged, write_checksums
from common.files import create_folder, expand, print_locked, read_json, try_lock
from common.notes import print_note
from data_pipeline.config import DataConfig
from data_pipeline.fingerprint import SourceFile, Sources, read_sources
from data_pipeline.group_files import PAUSE, GroupFiles
from data_pipeline.prepare_pairs import PairsHelper, describe_pairs, prepare_pairs, summarise_pairs
from data_pipeline.prepare_text import describe_text, prepare_text, summarise_text
from data_pipeline.sources.filters import LABELS, FilterReason
from data_pipeline.tokenizers import open_tokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer

if TYPE_CHECKING:  # imports PyTorch, which is slow and not needed to prepare data
    from data_pipeline.examples import Examples

STALE = 24 * 3600
"""Seconds after which an unfinished folder is removed, if no process holds its lock."""
TEMPORARY = ".unfinished-"


@dataclass(frozen=True)
class PreparedData:
    """The data of one configuration. Example i of `valid` and line i of `valid_text()` are the same sentence pair."""

    folder: Path
    config: DataConfig
    report: dict[str, Any]
    """Of sentence pairs: pairs read, dropped (by reason) and kept, of `train` and of `valid`. Of text: documents,
    characters and tokens of `train` and of `valid`, and `held_out`, True if `valid` is the end of `data.train`."""
    source_files: tuple[SourceFile, ...] = ()
    """Local files that the data come from."""

    @classmethod
    def open(cls, folder: Path, config: DataConfig, source_files: tuple[SourceFile, ...] = ()) -> "PreparedData":
        """Open a complete folder without comparing checksums. Raises FileNotFoundError if its report is missing."""
        return cls(folder, config, read_json(folder / "report.json"), source_files)

    @property
    def fingerprint(self) -> str:
        """Name of everything that decides the content."""
        return self.folder.name

    @property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of each file that decides the updates, by name. Equal checksums mean equal updates.

        Lengths follow from the offsets, and older versions did not write them.
        """
        return {
            name: digest
            for name, digest in read_checksums(self.folder).items()
            if name != "report.json" and not name.endswith(".lengths.npy")
        }

    @property
    def tokenizer_file(self) -> Path:
        """The vocabulary."""
        return self.folder / "tokenizer.model"

    @cached_property
    def train(self) -> "Examples":
        """Training examples. Raises FileNotFoundError if a file is missing."""
        return self._open("train")

    @cached_property
    def valid(self) -> "Examples":
        """Validation examples. Raises FileNotFoundError if a file is missing."""
        return self._open("valid")

    def valid_text(self) -> tuple[list[str], list[str]]:
        """Return sources and targets of the validation pairs as the corpus has them. Only for translation."""
        with (self.folder / "valid.jsonl").open(encoding="utf-8", newline="\n") as lines:
            pairs = [json.loads(line) for line in lines]
        return [source for source, _ in pairs], [target for _, target in pairs]

    def parts(self, split: str) -> dict[str, range]:
        """Return which examples each direction has, if `data.train` names directions; {} if it names none."""
        found, start = dict[str, range](), 0
        for direction, counts in self.report.get("directions", {}).items():
            end = start + counts[split][LABELS[FilterReason.KEPT]]
            found[direction] = range(start, end)
            start = end
        return found

    def sizes(self) -> str:
        """Return the number of training and validation pairs, or of tokens, in words."""
        return describe_pairs(self.report) if self.config.task == "translation" else describe_text(self.report)

    def summary(self) -> str:
        """Return a table of what was read, dropped and kept, and a sentence if validation data were held out."""
        return summarise_pairs(self.report) if self.config.task == "translation" else summarise_text(self.report)

    def print_notes(self) -> None:
        """Print what was noted when the data were created: the columns of tables, and warnings."""
        for note in self.report.get("notes", []):  # older versions saved none
            print_note(note)

    def _open(self, split: str) -> "Examples":
        from data_pipeline.examples import Documents, SentencePairs, TokenStream  # imports PyTorch, see above

        if self.config.task == "translation":
            pairs = SentencePairs.open(self.folder, split, tuple(map(len, self.parts(split).values())))
            if split == "valid" or not self.config.changes_pairs:
                return pairs
            return pairs.with_sampler(Tokenizer(self.tokenizer_file, self.config.normalize_unicode), self.config)
        if self.config.layout == "stream":
            return TokenStream.open(self.folder, split)
        return Documents.open(self.folder, split, open_tokenizer(self.tokenizer_file).document_start)


def prepare(
    config: DataConfig, cache_dir: Path, threads: int = 1, quiet: bool = False, every_byte: bool = False
) -> PreparedData:
    """Return the prepared data of a configuration. Create them if `cache_dir` does not contain them undamaged.

    Args:
        threads: processes that filter and tokenize a large corpus.
        quiet: show no progress bars and no notes.
        every_byte: compare every byte with the checksums, also if the data are so large that a sample is the default.

    Raises:
        InputError: the data cannot be read, the filters drop all of it, the vocabulary does not fit it, or a file was
            changed while it was read.
        OSError: a file is missing, or the disk is full.
    """
    cache_dir = expand(cache_dir)
    sources = read_sources(config)
    folder = cache_dir / sources.fingerprint
    created = False
    if not is_whole(folder, every_byte):
        _remove_unfinished(cache_dir)
        created = _Creation(config, sources, folder, threads, quiet, every_byte).create_or_help()
    prepared = PreparedData.open(folder, config, sources.files)
    if not created and not quiet:
        prepared.print_notes()
    return prepared


def wait_until_prepared(config: DataConfig, cache_dir: Path) -> PreparedData:
    """Return the prepared data of a configuration when another process has created or checked them.

    Raises InputError if a file of the corpora changes meanwhile.
    """
    sources = read_sources(config)
    folder = expand(cache_dir) / sources.fingerprint
    while not is_whole(folder):  # if the other process fails, the launcher ends this one
        sources.check_unchanged(config)
        time.sleep(0.2)
    return PreparedData.open(folder, config, sources.files)


@dataclass(frozen=True)
class _Creation:
    """Creates a folder of prepared data, or helps the process that creates it."""

    config: DataConfig
    sources: Sources
    folder: Path
    threads: int
    quiet: bool
    every_byte: bool

    def create_or_help(self) -> bool:
        """Return when the folder is complete: True if this process created it."""
        if (created := self._try_to_create()) is not None:
            return created
        of_pairs = self.config.task == "translation"
        print_locked(self.folder.parent, f"waiting for it{', and helping it if the corpus is large' * of_pairs}")
        with tempfile.TemporaryDirectory(
            dir=self.folder.parent, prefix=f"{TEMPORARY}{self.folder.name}-", ignore_cleanup_errors=True
        ) as work:
            helper = PairsHelper(self.config, Path(work), self._files, self.quiet)
            while (created := self._try_to_create()) is None:
                if of_pairs:
                    helper.help()
                time.sleep(PAUSE)
        return created

    def _try_to_create(self) -> bool | None:
        """Return None if another process holds the lock, False if it has created the folder, True if this one has."""
        with try_lock(_lock_file(self.folder.parent, self.folder.name)) as locked:
            if not locked:
                return None
            if created := not is_whole(self.folder, self.every_byte):
                remove_damaged(self.folder, self.every_byte, TEMPORARY)
                try:
                    self._create()
                except FileNotFoundError:
                    if not is_whole(self.folder):  # if it is: a process that does not see the lock was faster
                        raise
            self._files.remove()
            return created

    def _create(self) -> None:
        write = prepare_pairs if self.config.task == "translation" else prepare_text
        with _disk_full_names(self.folder.parent), create_folder(self.folder, TEMPORARY) as result:
            work = result / "work"
            work.mkdir()
            write(self.config, result, work, self._files, self.quiet)
            shutil.rmtree(work)
            self.sources.check_unchanged(self.config)
            write_checksums(result)

    @property
    def _files(self) -> GroupFiles:
        folder = self.folder.with_name(f"{TEMPORARY}{self.folder.name}-groups")
        return GroupFiles(folder, self.threads, partial(self.sources.check_unchanged, self.config))


def _lock_file(cache_dir: Path, name: str) -> Path:
    return cache_dir / f".{name}.lock"


def _remove_unfinished(cache_dir: Path) -> None:
    """Remove the unfinished folders of killed processes: older than `STALE`, and no process holds their lock."""
    for left in cache_dir.glob(TEMPORARY + "*"):
        name = left.name.removeprefix(TEMPORARY).split("-")[0]
        try:
            if time.time() - left.stat().st_mtime > STALE:
                with FileLock(_lock_file(cache_dir, name), timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
        except (FileNotFoundError, Timeout):
            continue


@contextmanager
def _disk_full_names(cache_dir: Path) -> Iterator[None]:
    """Name the cache folder in the error if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "the disk is full", str(cache_dir)) from error
        raise
