"""Filters of sentence pairs: which pairs are dropped, and how many for each reason."""

import hashlib
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from data_pipeline.config import DataConfig

ROWS_AT_ONCE = 1 << 20
"""Pairs whose filter reasons are compared at once."""
DUPLICATES_AT_ONCE = 1 << 22
"""Pairs among which duplicates are searched at once."""
RATIO_SLACK = 8
"""Tokens that a sentence may have beyond `data.max_ratio`: "Ja ." can be the translation of ten words."""
LONGEST_SUBWORD = 16
"""Characters in the longest piece that SentencePiece makes by default. A text of n characters has at least
n / LONGEST_SUBWORD tokens."""

FilterReasons = npt.NDArray[np.uint8]
"""The FilterReason of each sentence pair."""
Counts = dict[str, int]


class FilterReason(IntEnum):
    """Why a pair is dropped, or KEPT. A pair has the reason of the first filter that drops it, so counts add up."""

    KEPT = 0
    EMPTY = 1
    COPY = 2
    DUPLICATE = 3
    HELD_OUT = 4
    TOO_LONG = 5
    RATIO = 6


LABELS = {
    FilterReason.EMPTY: "source or target is empty",
    FilterReason.COPY: "target equals source",
    FilterReason.DUPLICATE: "duplicate",
    FilterReason.HELD_OUT: "held out",
    FilterReason.TOO_LONG: "too long",
    FilterReason.RATIO: "length ratio",
    FilterReason.KEPT: "kept",
}
"""Names of the reasons in reports, in the order of the report."""


def filter_text(source: str, target: str, config: DataConfig) -> FilterReason:
    """Return the filter reason that follows from normalised text alone.

    Covers empty texts, copies, and texts so long that every tokenizer would exceed `data.max_length`. So a line of a
    megabyte never reaches the tokenizer.
    """
    if config.drop_empty and not (source and target):
        return FilterReason.EMPTY
    if config.drop_copies and source == target:
        return FilterReason.COPY
    if exceeds_every_tokenizer(source, target, config.max_length):
        return FilterReason.TOO_LONG
    return FilterReason.KEPT


def exceeds_every_tokenizer(source: str, target: str, max_length: int | None) -> bool:
    """Return True if source or target must have more than `max_length` tokens, EOS included, with any tokenizer."""
    return max_length is not None and max(len(source), len(target)) > LONGEST_SUBWORD * (max_length - 1)


def filter_lengths(
    src: npt.NDArray[np.integer], tgt: npt.NDArray[np.integer], max_length: int | None, max_ratio: float | None
) -> FilterReasons:
    """Return the filter reason of each pair from the token counts of source and target, EOS included."""
    longer, shorter = np.maximum(src, tgt), np.minimum(src, tgt)
    reasons = np.zeros(len(longer), np.uint8)
    if max_ratio is not None:
        reasons[longer > max_ratio * shorter + RATIO_SLACK] = FilterReason.RATIO
    if max_length is not None:
        reasons[longer > max_length] = FilterReason.TOO_LONG
    return reasons


def pair_hash(source: str, target: str) -> int:
    """Return a 64-bit hash of a pair.

    With 4.5 million pairs, the probability of any collision is about 1 in 2 million; with a billion, 1 in 37.
    """
    text = f"{source}\0{target}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def mark_duplicates(reasons: FilterReasons, hashes: npt.NDArray[np.uint64]) -> None:
    """Set DUPLICATE, in place, for each kept pair whose hash equals that of an earlier kept pair.

    `hashes` may be a file that is memory-mapped. Equal hashes have equal remainders, so the pairs are compared in parts
    of about `DUPLICATES_AT_ONCE` pairs: memory does not grow with the corpus.
    """
    parts = -(-len(hashes) // DUPLICATES_AT_ONCE)
    for part in range(parts):
        kept = _find(partial(_is_kept_in, part, parts), reasons, hashes)
        first = np.unique(hashes[kept], return_index=True)[1]
        repeated = np.ones(len(kept), bool)
        repeated[first] = False
        reasons[kept[repeated]] = FilterReason.DUPLICATE


def _is_kept_in(part: int, parts: int, reasons: FilterReasons, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    return (reasons == FilterReason.KEPT) & (hashes % parts == part)


def mark_held_out(reasons: FilterReasons, hashes: npt.NDArray[np.uint64], held: npt.NDArray[np.int64]) -> None:
    """Set HELD_OUT, in place, for each kept pair whose hash equals that of a pair in `held`."""
    found = np.unique(hashes[held])
    same = _find(lambda some, sums: (some == FilterReason.KEPT) & np.isin(sums, found), reasons, hashes)
    reasons[same] = FilterReason.HELD_OUT


def _find(
    condition: Callable[[FilterReasons, npt.NDArray[np.uint64]], npt.NDArray[np.bool_]],
    reasons: FilterReasons,
    hashes: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Return the indices of the pairs that fulfil a condition, which is computed for some pairs at a time."""
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        end = start + ROWS_AT_ONCE
        found.append(np.flatnonzero(condition(reasons[start:end], hashes[start:end])) + start)
    return np.concatenate(found)


def find_ranked(marked: npt.NDArray[np.bool_], ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return, sorted, the indices of the marked pairs with these ranks: `np.flatnonzero(marked)[np.sort(ranks)]`.

    Looks at some pairs at a time, which needs less memory.
    """
    ranks, before, found = np.sort(ranks), 0, [np.zeros(0, np.int64)]
    for start in range(0, len(marked), ROWS_AT_ONCE):
        here = np.flatnonzero(marked[start : start + ROWS_AT_ONCE]) + start
        first, end = np.searchsorted(ranks, [before, before + len(here)])
        found.append(here[ranks[first:end] - before])
        before += len(here)
    return np.concatenate(found)


def find_first(reasons: FilterReasons, reason: FilterReason, n: int) -> npt.NDArray[np.int64]:
    """Return the indices of the first n pairs with a reason, or of all if there are fewer."""
    found = np.zeros(0, np.int64)
    for start in range(0, len(reasons), ROWS_AT_ONCE):
        here = np.flatnonzero(reasons[start : start + ROWS_AT_ONCE] == reason) + start
        if len(found := np.concatenate([found, here])[:n]) == n:
            break
    return found


def count_reasons(reasons: FilterReasons) -> Counts:
    """Return the number of pairs `read`, and the number for each label: dropped pairs by reason, and `kept`."""
    # not `np.bincount`, which would copy the reasons with eight bytes each
    return {"read": len(reasons)} | {label: int((reasons == reason).sum()) for reason, label in LABELS.items()}


def format_counts(report: Mapping[str, Counts]) -> str:
    """Return a text table of counts: one column for each split, one line for each label."""
    labels = dict.fromkeys(label for counts in report.values() for label in counts)
    rows = [["pairs", *report]]
    rows += [[label, *(f"{counts.get(label, 0):,}" for counts in report.values())] for label in labels]
    width = max(len(cell) for row in rows for cell in row)
    return "\n".join(row[0].ljust(width) + "".join(cell.rjust(width + 2) for cell in row[1:]) for row in rows)
