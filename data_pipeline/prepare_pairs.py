"""What `prepare` does where it finds nothing: load, filter, learn the vocabulary, tokenise, write."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import BATCH, NoSuchSplit, iterate, load_many
from data_pipeline.sources.filters import (
    Flags,
    Verdict,
    count,
    hopelessly_long,
    judge_lengths,
    judge_text,
    mark_duplicates,
    pair_hash,
)
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.token_store import IdWriter
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize, train_tokenizer

if TYPE_CHECKING:  # slow to import, and not needed where the cache has everything
    from datasets import Dataset

Texts = tuple[list[str], list[str]]
Hashes = npt.NDArray[np.uint64]


def build(config: DataConfig, result: Path, work: Path, threads: int, quiet: bool) -> None:
    """Writes into `result` the vocabulary, both parts' ids, the validation text and `report.json`.

    `work` is an empty folder for intermediate files; `quiet` shows no progress. Raises as `dataset.prepare`.
    """
    train, valid, flags = _load(config, work, threads, quiet)
    rows = flags == Verdict.KEPT
    _refuse_nothing(flags, "training")
    tokenizer = _vocabulary(train, rows, config, result)

    encode = _Encoder(tokenizer, result, config.max_length, threads, quiet)
    encode(train, flags, "train", config.max_ratio)
    valid_flags = _judge_valid(valid, config)
    encode(valid, valid_flags, "valid", None)
    _refuse_nothing(flags, "training")
    _refuse_nothing(valid_flags, "validation")
    with (result / "valid.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for texts in _select(valid, valid_flags == Verdict.KEPT):
            out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in zip(*texts, strict=True))
    report = {"train": count(flags), "valid": count(valid_flags)}
    (result / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _load(config: DataConfig, work: Path, threads: int, quiet: bool) -> tuple["Dataset", "Dataset", Flags]:
    """Training and validation pairs, and the verdict on each training pair as far as its text decides it."""
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        train = load_many(config.train, config, "train", work, threads)
        valid = _load_valid(config, work, threads)
    finally:
        if bars:
            datasets.enable_progress_bars()
    flags, hashes = _judge_train(train, config, quiet)
    if config.drop_duplicates:
        mark_duplicates(flags, hashes)
    if valid is None:
        _refuse_nothing(flags, "training")
        valid = train.select(_hold_out(flags, hashes, config))
    return train, valid, flags


def _load_valid(config: DataConfig, work: Path, threads: int) -> "Dataset | None":
    """The validation pairs; None where they must be held out, for none are named and the data brings none."""
    value = corpus_value(config, "valid")
    if value is None:
        return None
    try:
        return load_many(value, config, "valid", work, threads)
    except NoSuchSplit:
        if config.valid is not None:
            raise
        return None


def _judge_train(dataset: "Dataset", config: DataConfig, quiet: bool) -> tuple[Flags, Hashes]:
    flags, hashes = np.zeros(len(dataset), np.uint8), np.zeros(len(dataset), np.uint64)
    bar = tqdm(_pairs(dataset), desc="filtering", total=len(dataset), unit=" pairs", disable=quiet)
    for row, (source, target) in enumerate(bar):
        source, target = normalize(source), normalize(target)
        flags[row] = judge_text(source, target, config)
        hashes[row] = pair_hash(source, target)
    return flags, hashes


def _judge_valid(dataset: "Dataset", config: DataConfig) -> Flags:
    verdicts = (
        Verdict.TOO_LONG if hopelessly_long(normalize(source), normalize(target), config.max_length) else Verdict.KEPT
        for source, target in _pairs(dataset)
    )
    return np.fromiter(verdicts, np.uint8, count=len(dataset))


def _hold_out(flags: Flags, hashes: Hashes, config: DataConfig) -> npt.NDArray[np.int64]:
    """Draws the validation pairs, and marks them and every pair that equals one of them."""
    kept = np.flatnonzero(flags == Verdict.KEPT)
    wanted = min(config.valid_pairs, len(kept) // 20)
    if wanted == 0:
        raise InputError(
            f"{len(kept)} usable pairs in data.train are too few to hold one in twenty out "
            f"for validation: set data.valid"
        )
    held = np.sort(np.random.default_rng(config.seed).choice(kept, wanted, replace=False))
    flags[kept[np.isin(hashes[kept], hashes[held])]] = Verdict.HELD_OUT
    return held


def _vocabulary(dataset: "Dataset", rows: npt.NDArray[np.bool_], config: DataConfig, result: Path) -> Tokenizer:
    if config.tokenizer is not None:
        tokenizer = Tokenizer(find_tokenizer(config.tokenizer))
        tokenizer.save(result)
        return tokenizer
    assert config.vocab_type in ("bpe", "unigram"), "DataConfig sees to it"
    file = result / "tokenizer.model"
    return train_tokenizer(_sample(dataset, rows, config), file, config.vocab_size, config.vocab_type)


def _sample(dataset: "Dataset", rows: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[str]:
    most = config.tokenizer_sentences // 2
    if rows.sum() > most:
        chosen = np.random.default_rng(config.seed).choice(np.flatnonzero(rows), most, replace=False)
        rows = np.zeros_like(rows)
        rows[chosen] = True
    for source, target in _select(dataset, rows):
        yield from source
        yield from target


@dataclass(frozen=True)
class _Encoder:
    tokenizer: Tokenizer
    result: Path
    max_length: int | None
    threads: int
    quiet: bool

    def __call__(self, dataset: "Dataset", flags: Flags, name: str, max_ratio: float | None) -> None:
        """Writes the ids of the kept pairs that their token counts do not rule out, and flags the others."""
        rows = np.flatnonzero(flags == Verdict.KEPT)
        texts = _select(dataset, flags == Verdict.KEPT)
        vocab_size = self.tokenizer.vocab_size
        done = 0
        with (
            IdWriter(self.result / f"{name}.src", vocab_size) as src_out,
            IdWriter(self.result / f"{name}.tgt", vocab_size) as tgt_out,
            tqdm(total=len(rows), desc=f"tokenising {name}", unit=" pairs", disable=self.quiet) as bar,
        ):
            for source, target in texts:
                src, tgt = (self.tokenizer.encode(side, self.threads) for side in (source, target))
                verdicts = judge_lengths(_lengths(src), _lengths(tgt), self.max_length, max_ratio)
                flags[rows[done : done + len(src)]] = verdicts
                src_out.append(ids for ids, verdict in zip(src, verdicts, strict=True) if not verdict)
                tgt_out.append(ids for ids, verdict in zip(tgt, verdicts, strict=True) if not verdict)
                done += len(src)
                bar.update(len(src))


def _lengths(sentences: list[list[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sentences), np.int64, count=len(sentences))


def _pairs(dataset: "Dataset") -> Iterator[tuple[str, str]]:
    for source, target in iterate(dataset):
        yield from zip(source, target, strict=True)


def _select(dataset: "Dataset", rows: npt.NDArray[np.bool_]) -> Iterator[Texts]:
    for start, (source, target) in zip(range(0, len(rows), BATCH), iterate(dataset), strict=True):
        chosen = np.flatnonzero(rows[start : start + BATCH])
        if len(chosen):
            yield [source[row] for row in chosen], [target[row] for row in chosen]


def _refuse_nothing(flags: Flags, what: str) -> None:
    if not (flags == Verdict.KEPT).any():
        reasons = ", ".join(f"{label}: {number:,}" for label, number in count(flags).items() if number)
        raise InputError(f"no {what} pair is left after the filters ({reasons})")
