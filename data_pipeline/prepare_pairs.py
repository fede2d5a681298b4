"""Create the prepared data of a translation task: load, filter, train the tokenizer, tokenize, write."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import BATCH, NoSuchSplit, iterate, load_many
from data_pipeline.sources.filters import (
    LABELS,
    Flags,
    Verdict,
    count,
    hopelessly_long,
    judge_lengths,
    judge_text,
    mark_duplicates,
    pair_hash,
    table,
)
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize, train_tokenizer

if TYPE_CHECKING:  # slow import, not needed if the data are in the cache
    from datasets import Dataset

Texts = tuple[list[str], list[str]]
"""Sources and targets."""
PairHashes = npt.NDArray[np.uint64]


def prepare_pairs(config: DataConfig, result: Path, work: Path, threads: int, quiet: bool) -> None:
    """Write tokenizer, token stores of both splits, validation text and `report.json` to the folder `result`.

    `work` is an empty folder for intermediate files; `quiet` shows no progress bars. Raises as `prepare`.
    """
    train, valid, flags = _load(config, work, threads, quiet)
    kept = flags == Verdict.KEPT
    _reject_empty(flags, "training")
    tokenizer = _make_tokenizer(train, kept, config, result)

    encode = _Encoder(tokenizer, result, config.max_length, threads, quiet)
    encode(train, flags, "train", config.max_ratio)
    valid_flags = _judge_valid(valid, config)
    encode(valid, valid_flags, "valid", None)
    _reject_empty(flags, "training")
    _reject_empty(valid_flags, "validation")
    with (result / "valid.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for texts in _select(valid, valid_flags == Verdict.KEPT):
            out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in zip(*texts, strict=True))
    report = {"train": count(flags), "valid": count(valid_flags)}
    (result / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def describe_pairs(report: dict[str, Any]) -> str:
    """Return the numbers of training and validation pairs in words."""
    train, valid = (report[split][LABELS[Verdict.KEPT]] for split in ("train", "valid"))
    return f"{train:,} training and {valid:,} validation pairs"


def summarise_pairs(report: dict[str, Any]) -> str:
    """Return a table of pairs read, dropped and kept, and a sentence if validation pairs were held out."""
    counts = table(report)
    if not report["train"][LABELS[Verdict.HELD_OUT]]:
        return counts
    return (
        f"{counts}\n{report['valid']['read']:,} training pairs are held out for validation: "
        f"data.valid is not set, and data.train has no validation split"
    )


def _load(config: DataConfig, work: Path, threads: int, quiet: bool) -> tuple["Dataset", "Dataset", Flags]:
    """Return training pairs, validation pairs, and the filter reason of each training pair, as far as text decides."""
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
        _reject_empty(flags, "training")
        valid = train.select(_hold_out(flags, hashes, config))
    return train, valid, flags


def _load_valid(config: DataConfig, work: Path, threads: int) -> "Dataset | None":
    """Return the validation pairs. None: they must be held out, because neither data.valid nor data.train has any."""
    value = corpus_value(config, "valid")
    if value is None:
        return None
    try:
        return load_many(value, config, "valid", work, threads)
    except NoSuchSplit:
        if config.valid is not None:
            raise
        return None


def _judge_train(dataset: "Dataset", config: DataConfig, quiet: bool) -> tuple[Flags, PairHashes]:
    flags, hashes = np.zeros(len(dataset), np.uint8), np.zeros(len(dataset), np.uint64)
    bar = tqdm(_pairs(dataset), desc="filtering", total=len(dataset), unit=" pairs", disable=quiet)
    for i, (source, target) in enumerate(bar):
        source, target = normalize(source), normalize(target)
        flags[i] = judge_text(source, target, config)
        hashes[i] = pair_hash(source, target)
    return flags, hashes


def _judge_valid(dataset: "Dataset", config: DataConfig) -> Flags:
    verdicts = (
        Verdict.TOO_LONG if hopelessly_long(normalize(source), normalize(target), config.max_length) else Verdict.KEPT
        for source, target in _pairs(dataset)
    )
    return np.fromiter(verdicts, np.uint8, count=len(dataset))


def _hold_out(flags: Flags, hashes: PairHashes, config: DataConfig) -> npt.NDArray[np.int64]:
    """Return random validation pairs. Mark them, and every pair that equals one of them, as held out."""
    kept = np.flatnonzero(flags == Verdict.KEPT)
    wanted = min(config.valid_pairs, len(kept) // 20)
    if wanted == 0:
        raise InputError(
            f"data.train has only {len(kept)} usable pairs, too few to hold out one in twenty for validation. "
            "Set data.valid."
        )
    held = np.sort(np.random.default_rng(config.seed).choice(kept, wanted, replace=False))
    flags[kept[np.isin(hashes[kept], hashes[held])]] = Verdict.HELD_OUT
    return held


def _make_tokenizer(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig, result: Path) -> Tokenizer:
    if config.tokenizer is not None:
        tokenizer = Tokenizer(find_tokenizer(config.tokenizer))
        tokenizer.save(result)
        return tokenizer
    assert config.vocab_type in ("bpe", "unigram"), "DataConfig checks it"
    file = result / "tokenizer.model"
    return train_tokenizer(_sample(dataset, kept, config), file, config.vocab_size, config.vocab_type)


def _sample(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[str]:
    """Yield the kept sentences that the tokenizer is trained on: all, or a random sample of them."""
    most = config.tokenizer_sentences // 2
    if kept.sum() > most:
        chosen = np.random.default_rng(config.seed).choice(np.flatnonzero(kept), most, replace=False)
        kept = np.zeros_like(kept)
        kept[chosen] = True
    for source, target in _select(dataset, kept):
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
        """Write the ids of the kept pairs whose token counts pass the filters, and set the reasons of the others."""
        kept = np.flatnonzero(flags == Verdict.KEPT)
        texts = _select(dataset, flags == Verdict.KEPT)
        vocab_size = self.tokenizer.vocab_size
        done = 0
        with (
            TokenStoreWriter(self.result / f"{name}.src", vocab_size) as src_out,
            TokenStoreWriter(self.result / f"{name}.tgt", vocab_size) as tgt_out,
            tqdm(total=len(kept), desc=f"tokenizing {name}", unit=" pairs", disable=self.quiet) as bar,
        ):
            for source, target in texts:
                src, tgt = (self.tokenizer.encode(lines, self.threads) for lines in (source, target))
                verdicts = judge_lengths(_lengths(src), _lengths(tgt), self.max_length, max_ratio)
                flags[kept[done : done + len(src)]] = verdicts
                src_out.append(ids for ids, verdict in zip(src, verdicts, strict=True) if not verdict)
                tgt_out.append(ids for ids, verdict in zip(tgt, verdicts, strict=True) if not verdict)
                done += len(src)
                bar.update(len(src))


def _lengths(sentences: list[list[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sentences), np.int64, count=len(sentences))


def _pairs(dataset: "Dataset") -> Iterator[tuple[str, str]]:
    for source, target in iterate(dataset):
        yield from zip(source, target, strict=True)


def _select(dataset: "Dataset", chosen: npt.NDArray[np.bool_]) -> Iterator[Texts]:
    """Yield the chosen pairs in groups."""
    for start, (source, target) in zip(range(0, len(chosen), BATCH), iterate(dataset), strict=True):
        indices = np.flatnonzero(chosen[start : start + BATCH])
        if len(indices):
            yield [source[i] for i in indices], [target[i] for i in indices]


def _reject_empty(flags: Flags, what: str) -> None:
    if not (flags == Verdict.KEPT).any():
        reasons = ", ".join(f"{label}: {number:,}" for label, number in count(flags).items() if number)
        raise InputError(f"no {what} pair is left after the filters ({reasons})")
