"""Shapes of batches: a few boxes, (source length, target length), that keep padding low."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
NEVER = 1 << 40
"""Positions of a sentence in a box that it does not fit."""
ENOUGH = 1e-4
"""Share of the positions that a round of `_refine` must save for another one to follow."""


@dataclass(frozen=True)
class Box:
    """A shape, and the sentences that fit it better than any smaller one."""

    src_len: int
    tgt_len: int
    members: Ints

    def contains(self, other: "Box") -> bool:
        """True where a sentence of the other box fits this one."""
        return self.src_len >= other.src_len and self.tgt_len >= other.tgt_len


@dataclass(frozen=True)
class Cells:
    """The pairs of lengths that occur, and how many sentences have each."""

    src: Ints
    tgt: Ints
    count: Ints

    def turned(self) -> "Cells":
        """With the sides exchanged."""
        return Cells(self.tgt, self.src, self.count)

    def positions(self, src_len: int, tgt_len: int) -> Ints:
        """Positions that a sentence of each cell takes in a box of that shape; `NEVER` where it does not fit."""
        return np.where((self.src <= src_len) & (self.tgt <= tgt_len), src_len + tgt_len, NEVER)


def derive_boxes(src_lengths: Ints, tgt_lengths: Ints, shapes: int) -> list[Box]:
    """At most `shapes` boxes that keep padding low, smallest first; the last one contains all others.

    The rectangle of all lengths is split, again and again, where a split saves the most padding; then the edges of
    the boxes move, one after the other, to where they save the most, as long as that is worth while.
    """
    base = int(tgt_lengths.max()) + 1
    code, cell_of, count = np.unique(src_lengths * base + tgt_lengths, return_inverse=True, return_counts=True)
    cells = Cells(code // base, code % base, count)  # far fewer than sentences
    whole = (int(src_lengths.max()), int(tgt_lengths.max()))
    sizes = _split(cells, shapes)
    if whole not in sizes:
        sizes = [*_split(cells, shapes - 1), whole] if shapes > 1 else [whole]
    sizes = sorted(_refine(cells, sizes, whole), key=lambda size: (sum(size), size))
    box_of = np.stack([cells.positions(*size) for size in sizes], axis=1).argmin(1)[cell_of]
    by_box = np.argsort(box_of.astype(np.uint16), kind="stable")
    members = np.split(by_box, np.cumsum(np.bincount(box_of, minlength=len(sizes)))[:-1])
    boxes = [Box(*size, rows) for size, rows in zip(sizes, members, strict=True)]
    return [box for box in boxes if len(box.members) or (box.src_len, box.tgt_len) == whole]


def _split(cells: Cells, shapes: int) -> list[tuple[int, int]]:
    """Shapes of at most so many parts of the rectangle of all lengths."""
    regions = [np.arange(len(cells.count))]
    splits = [_best_split(cells, regions[0])]
    while len(regions) < shapes:
        best = max(range(len(regions)), key=lambda i: splits[i][0])
        saved, is_target, cut = splits[best]
        if saved <= 0:
            break
        region = regions.pop(best)
        splits.pop(best)
        low = (cells.tgt if is_target else cells.src)[region] <= cut
        for part in (region[low], region[~low]):
            regions.append(part)
            splits.append(_best_split(cells, part))
    return [(int(cells.src[r].max()), int(cells.tgt[r].max())) for r in regions]


def _best_split(cells: Cells, region: Ints) -> tuple[int, bool, int]:
    """(positions saved, split by target length?, longest length of the lower part) of a region's best split."""
    sides, count = (cells.src[region], cells.tgt[region]), cells.count[region]
    best = (0, False, 0)
    for is_target in (False, True):
        lengths, at = np.unique(sides[is_target], return_inverse=True)
        n, widest = np.zeros((2, len(lengths)), np.int64)
        np.add.at(n, at, count)  # sentences of each length
        np.maximum.at(widest, at, sides[not is_target])  # their longest other side
        n = n.cumsum()
        lower = np.maximum.accumulate(widest)
        upper = np.maximum.accumulate(widest[::-1])[::-1]
        whole = n[-1] * (lengths[-1] + lower[-1])
        parts = n[:-1] * (lengths[:-1] + lower[:-1]) + (n[-1] - n[:-1]) * (lengths[-1] + upper[1:])
        if len(parts) and whole - parts.min() > best[0]:
            cut = int(parts.argmin())
            best = (int(whole - parts[cut]), is_target, int(lengths[cut]))
    return best


def _refine(cells: Cells, sizes: list[tuple[int, int]], whole: tuple[int, int]) -> list[tuple[int, int]]:
    """The same boxes with better edges; the one that contains all sentences stays."""
    sizes, turned = list(sizes), cells.turned()
    costs = np.stack([cells.positions(*size) for size in sizes], axis=1)
    total = int(costs.min(1) @ cells.count)
    while True:
        for i, (src_len, tgt_len) in enumerate(sizes):
            if (src_len, tgt_len) == whole:
                continue
            costs[:, i] = NEVER
            elsewhere = costs.min(1)
            for _ in range(2):  # an edge, the other, and both once more
                src_len = _best_edge(cells, elsewhere, src_len, tgt_len)
                tgt_len = _best_edge(turned, elsewhere, tgt_len, src_len)
            sizes[i] = (src_len, tgt_len)
            costs[:, i] = cells.positions(src_len, tgt_len)
        before, total = total, int(costs.min(1) @ cells.count)
        if before - total < ENOUGH * before:
            return sizes


def _best_edge(cells: Cells, elsewhere: Ints, length: int, other: int) -> int:
    """The source length with which a box of target length `other` saves the most; `length` where it has no cell.

    `elsewhere` are the positions that a sentence of each cell takes without this box.
    """
    fits = cells.tgt <= other
    src, count, elsewhere = cells.src[fits], cells.count[fits], elsewhere[fits]
    candidates = np.unique(src)
    if not len(candidates):
        return length
    saved = np.maximum(0, elsewhere - candidates[:, None] - other) * count * (src <= candidates[:, None])
    return int(candidates[saved.sum(1).argmax()])
