"""Section 5.1: an update, its bucket batches, and how ranks share them.

The hardware decides one number, the split: each bucket batch is split into 1, 2, 4 or 8 equal micro-batches. Rank r
takes every `world_size`-th micro-batch, beginning with number r. So an update does not depend on the number of
devices, and every rank has the same number of micro-batches.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import InputError
from data_pipeline.buckets import AnyInts, Ints

PADDING_ROW = -1
"""Index of a padding row, which has no example and adds nothing to the loss."""
ROW_MULTIPLE = 8
"""The number of rows of a bucket batch is a multiple of this, so that it can be split into 1, 2, 4 or 8 equal
micro-batches."""


Draw = tuple[int, int]
"""Seed and epoch, from which the sampled subwords of all examples follow (`data_pipeline.subword_sampling`)."""


@dataclass(frozen=True)
class MicroBatch:
    """Examples that are padded to one shape: a whole bucket batch, or the part of it that a device computes at once."""

    indices: Ints
    """Numbers of the examples in the prepared data, or `PADDING_ROW`."""
    src_len: int
    tgt_len: int
    dropout_seed: int = 0
    """Depends on seed, step, bucket batch and number, not on the rank."""
    bucket_batch: int = 0
    """Number of the bucket batch in its update."""
    number: int = 0
    """Number of the micro-batch in its bucket batch."""
    draw: Draw | None = None
    """Which sampled subwords the examples have. None: those of the prepared data."""

    @property
    def positions(self) -> int:
        """Token positions of source or target, whichever is longer, with padding."""
        return len(self.indices) * max(self.src_len, self.tgt_len)


@dataclass(frozen=True)
class Update:
    """The bucket batches behind one optimizer step. Token counts are without padding, EOS included."""

    step: int
    """Counted from 0."""
    bucket_batches: tuple[MicroBatch, ...]
    src_tokens: int
    predicted_tokens: int
    """Target tokens that the loss counts. The loss is divided by this number."""
    seed: int = 0
    """Seed of the plan, from which the dropout seeds are made."""

    def micro_batches(self, split: int, world_size: int) -> list[MicroBatch]:
        """Return the micro-batches of all ranks; those of rank r are `[r::world_size]`.

        Padding micro-batches at the end make their number equal on all ranks.
        """
        real = [
            self._micro_batch(batch, b, number, indices)
            for b, batch in enumerate(self.bucket_batches)
            for number, indices in enumerate(_divide(batch.indices, split))
        ]
        b, last = len(self.bucket_batches) - 1, real[-1]
        padding = [
            self._micro_batch(last, b, split + extra, np.full_like(last.indices, PADDING_ROW))
            for extra in range(-len(real) % world_size)
        ]
        return real + padding

    def _micro_batch(self, shape: MicroBatch, bucket_batch: int, number: int, indices: Ints) -> MicroBatch:
        # The generators of CPUs use only the low 32 bits of a seed.
        dropout_seed = key(self.seed, self.step, bucket_batch, number) % 2**32
        return MicroBatch(indices, shape.src_len, shape.tgt_len, dropout_seed, bucket_batch, number, shape.draw)


def largest_micro_batch(shapes: Sequence[MicroBatch], split: int) -> MicroBatch:
    """Return a micro-batch of padding rows that needs as much memory as any, if each bucket batch is split.

    `shapes` are those of a plan: one bucket batch of each length bucket.
    """
    shape = max(shapes, key=lambda batch: len(batch.indices) * (batch.src_len + batch.tgt_len))
    return MicroBatch(_divide(shape.indices, split)[0], shape.src_len, shape.tgt_len)


def most_positions(shapes: Sequence[MicroBatch], split: int) -> int:
    """Return the largest number of token positions of a micro-batch, if each bucket batch is split.

    Counts source or target, whichever is longer, with padding.
    """
    return max(-(-len(batch.indices) // split) * max(batch.src_len, batch.tgt_len) for batch in shapes)


def choose_split(shapes: Sequence[MicroBatch], per_update: int, world_size: int, micro_tokens: int | None) -> int:
    """Return the smallest split with which micro-batches have at most `micro_tokens` positions and every rank has work.

    Args:
        shapes: those of a plan.
        per_update: number of bucket batches in an update.
        micro_tokens: most positions of a micro-batch, source or target; None is no limit.

    Raises:
        InputError: eight micro-batches per bucket batch are still too few or too large.
    """
    for split in (1, 2, 4, ROW_MULTIPLE):
        fits = micro_tokens is None or most_positions(shapes, split) <= micro_tokens
        if fits and split * per_update >= world_size:
            return split
    if per_update * ROW_MULTIPLE < world_size:
        raise InputError(
            f"{world_size} devices are too many: an update of {per_update} bucket batches can be split for at most "
            f"{per_update * ROW_MULTIPLE}. Raise batches.per_update or use fewer devices."
        )
    smallest = most_positions(shapes, ROW_MULTIPLE)
    raise InputError(
        f"batches.micro_tokens={micro_tokens} is too small for this data: an eighth of a bucket batch has up to "
        f"{smallest} tokens. Set batches.micro_tokens={smallest}."
    )


def batch_by_length(src_lengths: AnyInts, tgt_lengths: AnyInts, positions: int) -> list[MicroBatch]:
    """Return micro-batches that contain every example once, sorted by length, for validation.

    Each has at most `positions` token positions of source and of target, or one example.
    """
    order = np.lexsort((src_lengths, tgt_lengths))
    batches, members = [], [int(order[0])]
    src_len, tgt_len = int(src_lengths[order[0]]), int(tgt_lengths[order[0]])
    for index in order[1:]:
        wider = max(src_len, int(src_lengths[index])), max(tgt_len, int(tgt_lengths[index]))
        if (len(members) + 1) * max(wider) > positions:
            batches.append(MicroBatch(np.array(members), src_len, tgt_len))
            members, wider = [], (int(src_lengths[index]), int(tgt_lengths[index]))
        members.append(int(index))
        src_len, tgt_len = wider
    return [*batches, MicroBatch(np.array(members), src_len, tgt_len)]


def key(*parts: int | str) -> int:
    """Return a 128-bit number that differs if any part differs (SHA-256)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def permutation(n: int, *parts: int | str) -> Ints:
    """Return a permutation of range(n) that depends only on `parts`.

    Sorting the raw output of a counter-based generator gives the same order in every NumPy version;
    `Generator.permutation` does not guarantee that.
    """
    return np.argsort(np.random.Philox(key=key(*parts)).random_raw(n), kind="stable")


def _divide(indices: Ints, n: int) -> list[Ints]:
    """Return the indices in n equal arrays. If n does not divide their number, padding rows are added."""
    missing = np.full(-len(indices) % n, PADDING_ROW)
    return np.split(np.concatenate([indices, missing]), n)
