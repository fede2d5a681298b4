"""Section 5.1: which sentences form update k, and how an update is cut for the hardware.

An update is a pure function of (lengths, seed, k). Hardware decides only the cut, so one device and eight
follow the same curve, every rank has the same number of slices, and resuming needs nothing but k.

- A *box* is a shape (source length, target length); a few boxes are derived from the corpus's lengths.
- A *brick* is a full batch of one box. `bricks` of them, of different boxes, form an update.
- A *slice* is an equal part of a brick's rows: what one device computes at once.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from common.errors import InputError
from data_pipeline.buckets import Box, Ints, derive_boxes

PLAN_VERSION = 2
"""Raise it whenever the same lengths, seed and settings would give other updates."""
NULL_ROW = -1
"""A row that fills a brick: it has no sentence, and no target counts."""
ROW_MULTIPLE = 8
"""Rows of a brick are a multiple of this, so that 1, 2, 4 or 8 equal slices can be cut from it."""

AnyInts = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Slice:
    """Rows of the corpus (or `NULL_ROW`) to be padded to one shape."""

    rows: Ints
    src_len: int
    tgt_len: int


@dataclass(frozen=True)
class Update:
    """All that update `step` reads. Token counts are without padding, EOS included; those of the target count what
    is predicted."""

    step: int
    bricks: tuple[Slice, ...]
    src_tokens: int
    tgt_tokens: int


class UpdatePlan(Protocol):
    """What the loop asks of a plan, whatever the data is."""

    bricks_per_update: int

    def update(self, step: int) -> Update:
        """Update `step`, counted from 0."""

    def largest(self, slices: int) -> Slice:
        """A slice as large as any when each brick is cut into `slices`; it has no sentence."""

    def positions(self, slices: int) -> int:
        """Token positions that a slice has at most, on its longer side, when each brick is cut into `slices`."""

    def describe(self) -> str:
        """Its figures in a few words."""


class Plan:
    """The updates of a training run.

    Args:
        src_lengths, tgt_lengths: tokens of every sentence pair, EOS included.
        tokens_per_update: about this many source and as many target tokens form an update, padding not counted.
        bricks: how many bricks share an update (part of the recipe, not of the hardware).
        shapes: at most this many boxes; the last one takes what is left of the others.
        predicted: how many tokens of each target the loss counts; None is all of them.

    Raises ValueError where a sentence is too long for a brick.
    """

    def __init__(
        self,
        src_lengths: AnyInts,
        tgt_lengths: AnyInts,
        *,
        tokens_per_update: int,
        bricks: int,
        shapes: int,
        seed: int,
        predicted: AnyInts | None = None,
    ) -> None:
        assert len(src_lengths) == len(tgt_lengths) > 0
        self.predicted = tgt_lengths if predicted is None else predicted
        self.src_lengths, self.tgt_lengths = src_lengths.astype(np.int64), tgt_lengths.astype(np.int64)
        self.bricks_per_update, self.seed = bricks, seed
        self.boxes = derive_boxes(self.src_lengths, self.tgt_lengths, shapes)
        self.brick_positions = self._fit_bricks(tokens_per_update / bricks)
        self._refuse_too_long()
        self._next_box = [_next_container(self.boxes, i) for i in range(len(self.boxes))]
        self.bricks_of_box = self._count_bricks()
        self.updates_per_epoch = -(-sum(self.bricks_of_box) // bricks)
        self._epoch = lru_cache(maxsize=1)(self._shuffled_bricks)

    def update(self, step: int) -> Update:
        """Update `step`, counted from 0. The last one of an epoch may have fewer bricks."""
        epoch, i = divmod(step, self.updates_per_epoch)
        first = i * self.bricks_per_update
        bricks = tuple(self._epoch(epoch)[first : first + self.bricks_per_update])
        rows = np.concatenate([brick.rows for brick in bricks])
        rows = rows[rows != NULL_ROW]
        return Update(step, bricks, int(self.src_lengths[rows].sum()), int(self.predicted[rows].sum()))

    def rows_of(self, box: Box) -> int:
        """Rows of a brick of this box."""
        return int(_rows(box, np.int64(self.brick_positions)))

    def padding(self) -> float:
        """Share of an epoch's token positions, both sides together, that hold no token."""
        positions = sum(
            bricks * self.rows_of(box) * (box.src_len + box.tgt_len)
            for bricks, box in zip(self.bricks_of_box, self.boxes, strict=True)
        )
        return 1 - int(self.src_lengths.sum() + self.tgt_lengths.sum()) / positions

    def largest(self, slices: int) -> Slice:
        """A slice as large as any when each brick is cut into `slices`; it has no sentence."""
        box = max(self.boxes, key=lambda b: self.rows_of(b) * (b.src_len + b.tgt_len))
        return Slice(np.full(self.rows_of(box) // slices, NULL_ROW), box.src_len, box.tgt_len)

    def positions(self, slices: int) -> int:
        """Token positions that a slice has at most, on its longer side, when each brick is cut into `slices`."""
        return max(self.rows_of(box) // slices * max(box.src_len, box.tgt_len) for box in self.boxes)

    def describe(self) -> str:
        """Its figures in a few words."""
        return f"{self.updates_per_epoch:,} updates an epoch, {len(self.boxes)} shapes, {self.padding():.1%} padding"

    def _fit_bricks(self, tokens: float) -> int:
        """Positions of a brick on its longer side, so that it holds `tokens` tokens a side in the mean."""
        total = int(self.src_lengths.sum() + self.tgt_lengths.sum()) / 2
        sizes = ROW_MULTIPLE * np.arange(1, 4 * max(1, int(tokens)) // ROW_MULTIPLE + 2)
        bricks = np.zeros(len(sizes))
        for box in self.boxes:
            bricks += len(box.members) / np.maximum(ROW_MULTIPLE, _rows(box, sizes))
        error = np.abs(total / bricks - tokens)
        best = sizes[error == error.min()]
        longest = int(max(self.src_lengths.max(), self.tgt_lengths.max()))
        fitting = best[best >= ROW_MULTIPLE * longest]  # of sizes that give equal bricks, one that takes every row
        return int(fitting[0] if len(fitting) else best[0])

    def _refuse_too_long(self) -> None:
        longest = np.maximum(self.src_lengths, self.tgt_lengths)
        limit = self.brick_positions // ROW_MULTIPLE
        if longest.max() > limit:
            row = int(longest.argmax())
            shorten = f"lower data.max_length to {limit}, " if limit > 1 else ""  # a word and EOS are two tokens
            raise InputError(
                f"training pair or document {row} (counted from 0, after filtering) has {longest[row]} tokens, but "
                f"with {self.brick_positions} positions to a brick (batches.tokens_per_update / batches.per_update, "
                f"and padding) it may have {limit}: {shorten}raise batches.tokens_per_update or lower "
                "batches.per_update"
            )

    def _count_bricks(self) -> list[int]:
        """Bricks of each box in an epoch: full ones, and a part of one only where no box can take what is left."""
        waiting = [len(box.members) for box in self.boxes]
        counts = []
        for i, box in enumerate(self.boxes):
            full, rest = divmod(waiting[i], self.rows_of(box))
            following = self._next_box[i]
            if following is not None:
                waiting[following] += rest
            counts.append(full + (following is None and rest > 0))
        return counts

    def _bricks(self, epoch: int) -> list[Slice]:
        """Every sentence of the corpus once, in bricks, box after box.

        What does not fill a brick of its box moves on to a larger one; what is left of the largest is filled up.
        """
        incoming: list[list[Ints]] = [[] for _ in self.boxes]
        bricks = []
        for i, box in enumerate(self.boxes):
            own = box.members[permutation(len(box.members), self.seed, epoch, i)]
            pool = np.concatenate([*incoming[i], own])
            rows, following = self.rows_of(box), self._next_box[i]
            end = self.bricks_of_box[i] * rows
            if following is None:
                pool = np.concatenate([pool, np.full(end - len(pool), NULL_ROW)])
            else:
                incoming[following].append(pool[end:])
            bricks += [Slice(pool[a : a + rows], box.src_len, box.tgt_len) for a in range(0, end, rows)]
        return bricks

    def _shuffled_bricks(self, epoch: int) -> list[Slice]:
        bricks = self._bricks(epoch)
        return [bricks[i] for i in permutation(len(bricks), self.seed, epoch, "bricks")]


@dataclass(frozen=True)
class Cut:
    """How the hardware divides every update: each brick into `slices`, dealt out to `world` ranks in turn."""

    slices: int
    world: int

    def slices_of(self, update: Update, rank: int) -> list[tuple[int, int, Slice]]:
        """(brick, slice, rows) for one rank, equally many for every rank; slices without a sentence fill up."""
        every = [
            (b, s, Slice(rows, brick.src_len, brick.tgt_len))
            for b, brick in enumerate(update.bricks)
            for s, rows in enumerate(_equal_parts(brick.rows, self.slices))
        ]
        b, _, last = every[-1]
        for extra in range(-len(every) % self.world):
            nothing = np.full_like(last.rows, NULL_ROW)
            every.append((b, self.slices + extra, Slice(nothing, last.src_len, last.tgt_len)))
        return every[rank :: self.world]


def choose_cut(plan: UpdatePlan, world: int, micro_tokens: int | None) -> Cut:
    """The fewest slices that fit `micro_tokens` positions on a side and give every rank work.

    Raises ValueError where eight slices of a brick are still too few or too large.
    """
    for slices in (1, 2, 4, ROW_MULTIPLE):
        fits = micro_tokens is None or plan.positions(slices) <= micro_tokens
        if fits and slices * plan.bricks_per_update >= world:
            return Cut(slices, world)
    if plan.bricks_per_update * ROW_MULTIPLE < world:
        raise InputError(
            f"an update of {plan.bricks_per_update} bricks gives work to at most "
            f"{plan.bricks_per_update * ROW_MULTIPLE} devices, not {world}: "
            "raise batches.per_update or use fewer devices"
        )
    raise InputError(
        f"batches.micro_tokens {micro_tokens} is too small for this data: "
        f"an eighth of a brick has up to {plan.positions(ROW_MULTIPLE)} tokens; raise it to that"
    )


def evaluation_slices(src_lengths: AnyInts, tgt_lengths: AnyInts, tokens: int) -> list[Slice]:
    """Every sentence once, sorted by length, in batches of at most `tokens` positions a side, or one sentence."""
    order = np.lexsort((src_lengths, tgt_lengths))
    slices, batch = [], [int(order[0])]
    src_len, tgt_len = int(src_lengths[order[0]]), int(tgt_lengths[order[0]])
    for row in order[1:]:
        wider = max(src_len, int(src_lengths[row])), max(tgt_len, int(tgt_lengths[row]))
        if (len(batch) + 1) * max(wider) > tokens:
            slices.append(Slice(np.array(batch), src_len, tgt_len))
            batch, wider = [], (int(src_lengths[row]), int(tgt_lengths[row]))
        batch.append(int(row))
        src_len, tgt_len = wider
    return [*slices, Slice(np.array(batch), src_len, tgt_len)]


def key(*parts: int | str) -> int:
    """A 128-bit key that differs wherever a part differs (SHA-256)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def permutation(n: int, *parts: int | str) -> Ints:
    """A permutation of range(n) that depends on `parts` alone.

    Sorting a counter-based generator's raw output gives the same order in every NumPy;
    `Generator.permutation` does not promise that.
    """
    return np.argsort(np.random.Philox(key=key(*parts)).random_raw(n), kind="stable")


def _equal_parts(rows: Ints, parts: int) -> list[Ints]:
    """The rows in equal parts; where they do not divide, null rows fill up."""
    missing = np.full(-len(rows) % parts, NULL_ROW)
    return np.split(np.concatenate([rows, missing]), parts)


def _rows(box: Box, positions: Ints | np.int64) -> Ints | np.int64:
    return ROW_MULTIPLE * (positions // (ROW_MULTIPLE * max(box.src_len, box.tgt_len)))


def _next_container(boxes: list[Box], i: int) -> int | None:
    return next((j for j in range(i + 1, len(boxes)) if boxes[j].contains(boxes[i])), None)
