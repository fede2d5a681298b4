"""Length buckets: a few pairs of source and target lengths that keep padding low."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
AnyInts = npt.NDArray[np.integer]
DOES_NOT_FIT = 1 << 40
"""Cost of a length bucket that is too short for the sentence pair."""
SMALLEST_GAIN = 1e-4
"""`_refine` stops if a round saves less than this share of the token positions."""


@dataclass(frozen=True)
class LengthBucket:
    """A source length and a target length that a batch is padded to."""

    src_len: int
    tgt_len: int

    def contains(self, other: "LengthBucket") -> bool:
        """Return True if every example of the other bucket fits in this one."""
        return self.src_len >= other.src_len and self.tgt_len >= other.tgt_len


@dataclass(frozen=True)
class LengthCounts:
    """The distinct pairs of lengths, sorted, and the number of examples with each."""

    src: Ints
    tgt: Ints
    count: Ints

    def swapped(self) -> "LengthCounts":
        """Return the same counts with source and target swapped."""
        return LengthCounts(self.tgt, self.src, self.count)

    def positions(self, src_len: int, tgt_len: int) -> Ints:
        """Return the positions that an example of each pair of lengths takes in a bucket, or `DOES_NOT_FIT`."""
        return np.where((self.src <= src_len) & (self.tgt <= tgt_len), src_len + tgt_len, DOES_NOT_FIT)


def count_lengths(src_lengths: AnyInts, tgt_lengths: AnyInts) -> LengthCounts:
    """Return the distinct pairs of lengths."""
    base = int(tgt_lengths.max()) + 1
    code, count = np.unique(src_lengths.astype(np.int64) * base + tgt_lengths, return_counts=True)
    return LengthCounts(code // base, code % base, count)


def add_counts(parts: Sequence[LengthCounts]) -> LengthCounts:
    """Return the counts of all examples from those of parts."""
    src, tgt, count = (np.concatenate([getattr(part, name) for part in parts]) for name in ("src", "tgt", "count"))
    base = int(tgt.max()) + 1
    code, part_of = np.unique(src * base + tgt, return_inverse=True)
    total = np.zeros(len(code), np.int64)
    np.add.at(total, part_of, count)
    return LengthCounts(code // base, code % base, total)


def derive_buckets(counts: LengthCounts, max_buckets: int) -> list[LengthBucket]:
    """Return at most `max_buckets` buckets that keep padding low, smallest first. The last one contains all others.

    The rectangle of all lengths is split repeatedly, each time by the split that saves the most padding. Then the
    edges of the buckets move, one after the other, to the length that saves the most, until a round saves too little.
    """
    whole = (int(counts.src.max()), int(counts.tgt.max()))
    sizes = _split(counts, max_buckets)
    if whole not in sizes:
        sizes = [*_split(counts, max_buckets - 1), whole] if max_buckets > 1 else [whole]
    sizes = sorted(_refine(counts, sizes, whole), key=lambda size: (sum(size), size))
    buckets = [LengthBucket(*size) for size in sizes]
    examples = count_examples(buckets, counts)
    return [
        bucket for bucket, n in zip(buckets, examples, strict=True) if n or (bucket.src_len, bucket.tgt_len) == whole
    ]


def find_buckets(buckets: Sequence[LengthBucket], src_lengths: AnyInts, tgt_lengths: AnyInts) -> npt.NDArray[np.uint16]:
    """Return the number of each example's bucket: the first, that is, the smallest bucket in which the example fits."""
    found = np.zeros(len(src_lengths), np.uint16)
    for i, bucket in reversed(list(enumerate(buckets))):
        found[(src_lengths <= bucket.src_len) & (tgt_lengths <= bucket.tgt_len)] = i
    return found


def count_examples(buckets: Sequence[LengthBucket], counts: LengthCounts) -> Ints:
    """Return the number of examples in each bucket."""
    examples = np.zeros(len(buckets), np.int64)
    np.add.at(examples, find_buckets(buckets, counts.src, counts.tgt), counts.count)
    return examples


def _split(counts: LengthCounts, max_buckets: int) -> list[tuple[int, int]]:
    """Return the sizes of at most `max_buckets` regions of the rectangle of all lengths."""
    regions = [np.arange(len(counts.count))]
    splits = [_best_split(counts, regions[0])]
    while len(regions) < max_buckets:
        best = max(range(len(regions)), key=lambda i: splits[i][0])
        saved, by_target, longest = splits[best]
        if saved <= 0:
            break
        region = regions.pop(best)
        splits.pop(best)
        low = (counts.tgt if by_target else counts.src)[region] <= longest
        for half in (region[low], region[~low]):
            regions.append(half)
            splits.append(_best_split(counts, half))
    return [(int(counts.src[r].max()), int(counts.tgt[r].max())) for r in regions]


def _best_split(counts: LengthCounts, region: Ints) -> tuple[int, bool, int]:
    """Return (positions saved, split by target length?, longest length below the split) of a region's best split."""
    both, count = (counts.src[region], counts.tgt[region]), counts.count[region]
    best = (0, False, 0)
    for by_target in (False, True):
        lengths, at = np.unique(both[by_target], return_inverse=True)
        n, widest = np.zeros((2, len(lengths)), np.int64)
        np.add.at(n, at, count)  # examples of each length
        np.maximum.at(widest, at, both[not by_target])  # their longest length in the other language
        n = n.cumsum()
        lower = np.maximum.accumulate(widest)
        upper = np.maximum.accumulate(widest[::-1])[::-1]
        unsplit = n[-1] * (lengths[-1] + lower[-1])
        split = n[:-1] * (lengths[:-1] + lower[:-1]) + (n[-1] - n[:-1]) * (lengths[-1] + upper[1:])
        if len(split) and unsplit - split.min() > best[0]:
            i = int(split.argmin())
            best = (int(unsplit - split[i]), by_target, int(lengths[i]))
    return best


def _refine(counts: LengthCounts, sizes: list[tuple[int, int]], whole: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the same number of buckets with better edges. The bucket that contains all examples does not change."""
    sizes, swapped = list(sizes), counts.swapped()
    costs = np.stack([counts.positions(*size) for size in sizes], axis=1)
    total = int(costs.min(1) @ counts.count)
    while True:
        for i, (src_len, tgt_len) in enumerate(sizes):
            if (src_len, tgt_len) == whole:
                continue
            costs[:, i] = DOES_NOT_FIT
            elsewhere = costs.min(1)
            for _ in range(2):  # source edge, target edge, and both once more
                src_len = _best_edge(counts, elsewhere, src_len, tgt_len)
                tgt_len = _best_edge(swapped, elsewhere, tgt_len, src_len)
            sizes[i] = (src_len, tgt_len)
            costs[:, i] = counts.positions(src_len, tgt_len)
        before, total = total, int(costs.min(1) @ counts.count)
        if before - total < SMALLEST_GAIN * before:
            return sizes


def _best_edge(counts: LengthCounts, elsewhere: Ints, length: int, other: int) -> int:
    """Return the source length with which a bucket of target length `other` saves the most positions.

    Return `length` if no example fits in the bucket. `elsewhere` are the positions that an example of each pair of
    lengths takes without this bucket.
    """
    fits = counts.tgt <= other
    src, count, elsewhere = counts.src[fits], counts.count[fits], elsewhere[fits]
    candidates = np.unique(src)
    if not len(candidates):
        return length
    saved = np.maximum(0, elsewhere - candidates[:, None] - other) * count * (src <= candidates[:, None])
    return int(candidates[saved.sum(1).argmax()])
