"""Create the prepared data of a translation task: load, filter, train the tokenizer, tokenize, write."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from common.errors import InputError
from common.notes import keep_notes
from common.text import UNICODE_RULE, unify
from data_pipeline.config import DataConfig
from data_pipeline.sources.columns import quote
from data_pipeline.sources.corpus import Note, iterate_pairs, load_corpora
from data_pipeline.sources.filters import (
    LABELS,
    FilterReason,
    FilterReasons,
    count_reasons,
    exceeds_every_tokenizer,
    filter_lengths,
    filter_text,
    find_ranked,
    format_counts,
    mark_duplicates,
    mark_held_out,
    pair_hash,
)
from data_pipeline.sources.hub import NoSuchSplit
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.token_store import TokenStoreWriter, smallest_type
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize, train_tokenizer
from data_pipeline.worker_pool import map_in_order

if TYPE_CHECKING:  # slow import, not needed if the data are in the cache
    from datasets import Dataset

Texts = tuple[list[str], list[str]]
"""Sources and targets."""
Flat = tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]
"""Ids of sentences, one after the other, and the lengths of the sentences."""
PairHashes = npt.NDArray[np.uint64]
GROUP = 100_000
"""Sentence pairs that a process filters or tokenizes at once."""
EXAMPLES = 3
"""Number of training pairs that the summary shows."""
OLD_LABELS = {
    "a side is empty": LABELS[FilterReason.EMPTY],
    "target is the source": LABELS[FilterReason.COPY],
    "occurred before": LABELS[FilterReason.DUPLICATE],
}
"""Names of filter reasons in reports of older versions."""


def prepare_pairs(config: DataConfig, result: Path, work: Path, threads: int, quiet: bool) -> None:
    """Write tokenizer, token stores of both splits, validation text and `report.json` to the folder `result`.

    `work` is an empty folder for intermediate files; `quiet` shows no progress bars and no notes. Raises as `prepare`.
    """
    notes: list[str] = []
    train, valid, reasons, changed = _load(config, work, threads, quiet, keep_notes(notes, quiet))
    kept = reasons == FilterReason.KEPT
    _reject_empty(reasons, "training")
    tokenizer = _make_tokenizer(train, kept, config, result)

    encode = _Encoder(tokenizer, result, config.max_length, threads, quiet)
    encode(train, reasons, "train", config.max_ratio)
    valid_reasons = _filter_valid(valid, config)
    encode(valid, valid_reasons, "valid", None)
    _reject_empty(reasons, "training")
    _reject_empty(valid_reasons, "validation")
    with (result / "valid.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for texts in _select(valid, valid_reasons == FilterReason.KEPT):
            out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in zip(*texts, strict=True))
    report: dict[str, Any] = {"train": count_reasons(reasons), "valid": count_reasons(valid_reasons), "notes": notes}
    kept_pairs = zip(*next(_select(train, reasons == FilterReason.KEPT)), strict=True)
    report["examples"] = list(islice(kept_pairs, EXAMPLES))
    if changed:
        report["changed_pairs"] = changed
    (result / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def count_usable_pairs(config: DataConfig, folder: Path, threads: int = 1) -> int:
    """Return how many training pairs the filters of texts keep. `folder` is for intermediate files.

    Filters of lengths in tokens need the vocabulary and are not applied. Raises as `prepare`.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _, _, reasons, _ = _load(config, Path(work), threads, quiet=True, note=lambda _: None)
    return int((reasons == FilterReason.KEPT).sum())


def describe_pairs(report: dict[str, Any]) -> str:
    """Return the numbers of training and validation pairs in words."""
    train, valid = (report[split][LABELS[FilterReason.KEPT]] for split in ("train", "valid"))
    return f"{train:,} training and {valid:,} validation pairs"


def summarise_pairs(report: dict[str, Any]) -> str:
    """Return a table of pairs read, dropped and kept, the first pairs, and sentences on pairs changed or held out."""
    splits = {split: report[split] for split in ("train", "valid")}
    counts = format_counts(
        {split: {OLD_LABELS.get(label, label): n for label, n in found.items()} for split, found in splits.items()}
    )
    examples = [f"pair {i}      {quote(source)} -> {quote(target)}" for i, (source, target) in _examples(report)]
    sentences = []
    if changed := report.get("changed_pairs", 0):
        sentences.append(f"{changed:,} training pairs were changed: {UNICODE_RULE} (data.normalize_unicode)")
    if report["train"][LABELS[FilterReason.HELD_OUT]]:
        sentences.append(
            f"{report['valid']['read']:,} training pairs are held out for validation: "
            f"data.valid is not set, and data.train has no validation split"
        )
    return "\n".join([counts, *examples, *sentences])


def _examples(report: dict[str, Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(report.get("examples", []), start=1)  # older versions saved none


def _load(
    config: DataConfig, work: Path, threads: int, quiet: bool, note: Note
) -> tuple["Dataset", "Dataset", FilterReasons, int]:
    """Return training pairs, validation pairs, filter reasons, and the number of training pairs that `unify` changes.

    The filter reason of each training pair is the one that follows from its text alone.
    """
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        train = load_corpora(config.train, config, "train", work, threads, note)
        valid = _load_valid(config, work, threads, note)
    finally:
        if bars:
            datasets.enable_progress_bars()
    reasons, hashes, changed = _filter_train(train, config, work, threads, quiet)
    if config.drop_duplicates:
        mark_duplicates(reasons, hashes)
    if valid is None:
        _reject_empty(reasons, "training")
        valid = train.select(_hold_out(reasons, hashes, config))
    return train, valid, reasons, changed


def _load_valid(config: DataConfig, work: Path, threads: int, note: Note) -> "Dataset | None":
    """Return the validation pairs. None: they must be held out, because neither data.valid nor data.train has any."""
    value = corpus_value(config, "valid")
    if value is None:
        return None
    try:
        return load_corpora(value, config, "valid", work, threads, note)
    except NoSuchSplit:
        if config.valid is not None:
            raise
        return None


def _filter_train(
    dataset: "Dataset", config: DataConfig, work: Path, threads: int, quiet: bool
) -> tuple[FilterReasons, PairHashes, int]:
    reasons = np.zeros(len(dataset), np.uint8)
    hashes = np.memmap(work / "hashes", np.uint64, "w+", shape=(len(dataset),))
    done, changed = 0, 0
    with tqdm(total=len(dataset), desc="filtering", unit=" pairs", disable=quiet) as bar:
        for found in map_in_order(partial(_filter_group, config), _groups(dataset), len(dataset), threads):
            end = done + len(found[0])
            reasons[done:end], hashes[done:end] = found[:2]
            changed += found[2]
            bar.update(end - done)
            done = end
    return reasons, hashes, changed


def _filter_group(config: DataConfig, group: "Dataset") -> tuple[FilterReasons, PairHashes, int]:
    reasons, hashes = np.zeros(len(group), np.uint8), np.zeros(len(group), np.uint64)
    unicode, changed = config.normalize_unicode, 0
    for i, (source, target) in enumerate(_pairs(group)):
        changed += unicode and (unify(source) != source or unify(target) != target)
        source, target = normalize(source, unicode), normalize(target, unicode)
        reasons[i] = filter_text(source, target, config)
        hashes[i] = pair_hash(source, target)
    return reasons, hashes, changed


def _filter_valid(dataset: "Dataset", config: DataConfig) -> FilterReasons:
    unicode = config.normalize_unicode
    too_long = (
        exceeds_every_tokenizer(normalize(source, unicode), normalize(target, unicode), config.max_length)
        for source, target in _pairs(dataset)
    )
    dropped = np.fromiter(too_long, np.bool_, count=len(dataset))
    return np.where(dropped, FilterReason.TOO_LONG, FilterReason.KEPT).astype(np.uint8)


def _hold_out(reasons: FilterReasons, hashes: PairHashes, config: DataConfig) -> npt.NDArray[np.int64]:
    """Return random validation pairs. Mark them, and every pair that equals one of them, as held out."""
    kept = reasons == FilterReason.KEPT
    usable = int(kept.sum())
    wanted = min(config.valid_pairs, usable // 20)
    if wanted == 0:
        raise InputError(
            f"data.train has only {usable} usable pairs, too few to hold out one in twenty for validation. "
            "Set data.valid."
        )
    held = find_ranked(kept, np.random.default_rng(config.seed).choice(usable, wanted, replace=False))
    mark_held_out(reasons, hashes, held)
    return held


def _make_tokenizer(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig, result: Path) -> Tokenizer:
    if config.tokenizer is not None:
        tokenizer = Tokenizer(find_tokenizer(config.tokenizer), config.normalize_unicode)
        tokenizer.save(result)
        return tokenizer
    assert config.vocab_type in ("bpe", "unigram"), "DataConfig checks it"
    file = result / "tokenizer.model"
    texts = _sample(dataset, kept, config)
    return train_tokenizer(texts, file, config.vocab_size, config.vocab_type, config.normalize_unicode)


def _sample(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[str]:
    """Yield the kept sentences that the tokenizer is trained on: all, or a random sample of them."""
    most = config.tokenizer_sentences // 2
    usable = int(kept.sum())
    if usable > most:
        chosen = find_ranked(kept, np.random.default_rng(config.seed).choice(usable, most, replace=False))
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

    def __call__(self, dataset: "Dataset", reasons: FilterReasons, name: str, max_ratio: float | None) -> None:
        """Write the ids of the kept pairs whose token counts pass the filters, and set the reasons of the others."""
        vocab_size, done = self.tokenizer.vocab_size, 0
        encode = partial(_encode_group, self.tokenizer, self.max_length, max_ratio)
        tasks = ((group, reasons[start : start + GROUP]) for start, group in zip(count(0, GROUP), _groups(dataset)))
        with (
            TokenStoreWriter(self.result / f"{name}.src", vocab_size) as src_out,
            TokenStoreWriter(self.result / f"{name}.tgt", vocab_size) as tgt_out,
            tqdm(total=len(dataset), desc=f"tokenizing {name}", unit=" pairs", disable=self.quiet) as bar,
        ):
            for new_reasons, src, tgt in map_in_order(encode, tasks, len(dataset), self.threads):
                reasons[done : done + len(new_reasons)] = new_reasons
                src_out.append_flat(*src)
                tgt_out.append_flat(*tgt)
                done += len(new_reasons)
                bar.update(len(new_reasons))


def _encode_group(
    tokenizer: Tokenizer, max_length: int | None, max_ratio: float | None, task: tuple["Dataset", FilterReasons]
) -> tuple[FilterReasons, Flat, Flat]:
    """Return the filter reasons of a group, and the ids of the pairs that are still kept."""
    group, reasons = task
    reasons = reasons.copy()
    kept = np.flatnonzero(reasons == FilterReason.KEPT)
    done, src_out, tgt_out = 0, _empty(tokenizer), _empty(tokenizer)
    for source, target in _select(group, reasons == FilterReason.KEPT):
        src, tgt = tokenizer.encode(source), tokenizer.encode(target)
        new_reasons = filter_lengths(_lengths(src), _lengths(tgt), max_length, max_ratio)
        reasons[kept[done : done + len(src)]] = new_reasons
        for out, rows in ((src_out, src), (tgt_out, tgt)):
            out.append(_flatten([ids for ids, reason in zip(rows, new_reasons, strict=True) if not reason], tokenizer))
        done += len(src)
    return reasons, _join(src_out), _join(tgt_out)


def _empty(tokenizer: Tokenizer) -> list[Flat]:
    return [_flatten([], tokenizer)]


def _flatten(rows: list[list[int]], tokenizer: Tokenizer) -> Flat:
    lengths = _lengths(rows)
    dtype = smallest_type(tokenizer.vocab_size - 1)
    return np.fromiter(chain.from_iterable(rows), dtype, count=int(lengths.sum())), lengths


def _join(parts: list[Flat]) -> Flat:
    ids, lengths = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(lengths)


def _lengths(sentences: list[list[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sentences), np.int64, count=len(sentences))


def _groups(dataset: "Dataset") -> Iterator["Dataset"]:
    """Yield the rows in groups of `GROUP`."""
    for start in range(0, len(dataset), GROUP):
        yield dataset.select(range(start, min(start + GROUP, len(dataset))))


def _pairs(dataset: "Dataset") -> Iterator[tuple[str, str]]:
    for source, target in iterate_pairs(dataset):
        yield from zip(source, target, strict=True)


def _select(dataset: "Dataset", chosen: npt.NDArray[np.bool_]) -> Iterator[Texts]:
    """Yield the chosen pairs in groups."""
    start = 0
    for source, target in iterate_pairs(dataset):
        indices = np.flatnonzero(chosen[start : start + len(source)])
        if len(indices):
            yield [source[i] for i in indices], [target[i] for i in indices]
        start += len(source)


def _reject_empty(reasons: FilterReasons, what: str) -> None:
    if not (reasons == FilterReason.KEPT).any():
        counts = ", ".join(f"{label}: {number:,}" for label, number in count_reasons(reasons).items() if number)
        raise InputError(f"no {what} pair is left after the filters ({counts})")
