"""Corpora to memory-mapped ids, once: `prepare` loads, filters, learns the vocabulary and tokenises.

The result lies in `cache_dir/<fingerprint>/` and appears there by one rename when it is complete, so a second call
opens it at once, and a call that is killed leaves nothing that could be taken for a result.
"""

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.config import DataConfig
from data_pipeline.fingerprint import fingerprint
from data_pipeline.prepare_pairs import build
from data_pipeline.prepare_text import build_text
from data_pipeline.sources.filters import LABELS, Counts, Verdict, table
from data_pipeline.token_store import ParallelIds, TextIds

STALE = 24 * 3600  # seconds after which an unfinished folder is taken for that of a killed process
TEMPORARY = ".unfinished-"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote, opened. Row i of `valid` and of `valid_text()` is the same pair."""

    folder: Path
    fingerprint: str
    tokenizer_file: Path
    train: ParallelIds
    valid: ParallelIds
    report: dict[str, Counts]
    """Pairs read, dropped (by reason) and kept, of `train` and of `valid`."""

    @classmethod
    def open(cls, folder: Path) -> "Prepared":
        """A finished folder. Raises FileNotFoundError where a file of it is missing."""
        return cls(
            folder=folder,
            fingerprint=folder.name,
            tokenizer_file=folder / "tokenizer.model",
            train=ParallelIds.open(folder, "train"),
            valid=ParallelIds.open(folder, "valid"),
            report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        )

    def valid_text(self) -> tuple[list[str], list[str]]:
        """Sources and targets of the validation pairs, as they were written in the corpus."""
        with (self.folder / "valid.jsonl").open(encoding="utf-8", newline="\n") as lines:
            pairs = [json.loads(line) for line in lines]
        return [source for source, _ in pairs], [target for _, target in pairs]

    def sizes(self) -> str:
        """How many pairs there are."""
        return f"{len(self.train):,} training and {len(self.valid):,} validation pairs"

    def summary(self) -> str:
        """A table of the pairs read, dropped and kept, and a sentence where validation pairs were held out."""
        counts = table(self.report)
        if not self.report["train"][LABELS[Verdict.HELD_OUT]]:
            return counts
        held = self.report["valid"]["read"]
        return (
            f"{counts}\n{held:,} training pairs are held out for validation: "
            f"data.valid is not set, and data.train has no validation split"
        )


@dataclass(frozen=True)
class PreparedText:
    """What `prepare` wrote of running text, opened."""

    folder: Path
    fingerprint: str
    tokenizer_file: Path
    train: TextIds
    valid: TextIds
    report: dict[str, Any]
    """Documents, characters and tokens of `train` and of `valid`, and whether the second is the end of the first."""

    @classmethod
    def open(cls, folder: Path) -> "PreparedText":
        """A finished folder. Raises FileNotFoundError where a file of it is missing."""
        return cls(
            folder=folder,
            fingerprint=folder.name,
            tokenizer_file=folder / "tokenizer.model",
            train=TextIds.open(folder, "train"),
            valid=TextIds.open(folder, "valid"),
            report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        )

    def sizes(self) -> str:
        """How many tokens there are."""
        train, valid = (self.report[name]["tokens"] for name in ("train", "valid"))
        return f"{train:,} training and {valid:,} validation tokens"

    def summary(self) -> str:
        """How much text there is, and a sentence where the end of it was held out."""
        counts = "\n".join(
            f"{name:<11} {sizes['documents']:>12,} documents {sizes['characters']:>14,} characters to predict "
            f"{sizes['tokens']:>14,} tokens"
            for name, sizes in ((name, self.report[name]) for name in ("train", "valid"))
        )
        if not self.report["held_out"]:
            return counts
        return f"{counts}\nthe end of data.train is held out for validation: data.valid is not set"


def prepare(config: DataConfig, cache_dir: Path, threads: int = 1, quiet: bool = False) -> Prepared | PreparedText:
    """The ids of the training and validation data and the vocabulary, made now or found in `cache_dir`.

    `threads` is for tokenising; `quiet` shows no progress. What was dropped is for the caller to print
    (`Prepared.summary`). Raises ValueError or OSError, in one sentence, where the data cannot be read, nothing is
    left of it, the vocabulary does not fit it, or the disk is full.
    """
    cache_dir = Path(cache_dir)
    folder = cache_dir / fingerprint(config)
    if not folder.is_dir():
        with _unfinished(cache_dir, folder.name) as unfinished:
            result, work = unfinished / "result", unfinished / "work"
            result.mkdir()
            work.mkdir()
            (build if config.task == "translation" else build_text)(config, result, work, threads, quiet)
            _publish(result, folder)
    return open_prepared(config, folder)


def open_prepared(config: DataConfig, folder: Path) -> Prepared | PreparedText:
    """A finished folder. Raises FileNotFoundError where a file of it is missing."""
    return Prepared.open(folder) if config.task == "translation" else PreparedText.open(folder)


@contextmanager
def _unfinished(cache_dir: Path, name: str) -> Iterator[Path]:
    """A folder of our own beside the result; it is gone afterwards, whatever happens."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    for left in cache_dir.glob(TEMPORARY + "*"):  # of processes that were killed
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
    folder = cache_dir / f"{TEMPORARY}{name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "the disk is full", str(cache_dir)) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(result: Path, folder: Path) -> None:
    for path in (*result.iterdir(), result):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    try:
        result.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was quicker, and its result is the same
            raise
