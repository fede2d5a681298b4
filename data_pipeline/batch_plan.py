"""Section 5.1: the batch plan decides which sentence pairs or documents form update k.

An update is a pure function of (lengths, seed, k). So the training curve does not depend on the number of devices, and
resuming needs only k. All examples of a bucket batch come from one length bucket. An update has `per_update` bucket
batches.

A large corpus is planned in shards, one after the other: shard s of n has the examples s, s + n, s + 2n, ..., so all
shards are alike. All have the same length buckets. An epoch takes the shards in random order, and memory grows with the
shard, not with the corpus.
"""

from copy import copy
from functools import lru_cache

import numpy as np

from common.errors import InputError
from data_pipeline.buckets import (
    AnyInts,
    Ints,
    LengthBucket,
    LengthCounts,
    add_counts,
    count_examples,
    count_lengths,
    derive_buckets,
    find_buckets,
)
from data_pipeline.micro_batches import PADDING_ROW, ROW_MULTIPLE, MicroBatch, Update, permutation

PLAN_VERSION = 2
"""Raise it if a change of the code gives other updates for the same lengths, seed and settings."""


class BatchPlan:
    """The updates of a training run on sentence pairs or documents.

    Args:
        src_lengths, tgt_lengths: tokens of each example, EOS included.
        tokens_per_update: approximate number of source tokens, and of target tokens, in an update, without padding.
        per_update: number of bucket batches in an update.
        max_buckets: largest number of length buckets.
        seed: random seed of the order of the examples.
        predicted: number of target tokens of each example that the loss counts. None: all of them.
        shard: largest number of examples of a shard. None: one shard.

    Raises:
        InputError: an example is too long for a bucket batch.
    """

    def __init__(
        self,
        src_lengths: AnyInts,
        tgt_lengths: AnyInts,
        *,
        tokens_per_update: int,
        per_update: int,
        max_buckets: int,
        seed: int,
        predicted: AnyInts | None = None,
        shard: int | None = None,
    ) -> None:
        assert len(src_lengths) == len(tgt_lengths) > 0
        self.predicted = tgt_lengths if predicted is None else predicted
        self.src_lengths, self.tgt_lengths = src_lengths, tgt_lengths
        self.per_update, self.seed = per_update, seed
        self.shards = 1 if shard is None else -(-len(src_lengths) // shard)
        counts = [count_lengths(*self._lengths_of(shard)) for shard in range(self.shards)]
        self._counts = add_counts(counts)
        self.buckets = derive_buckets(self._counts, max_buckets)
        self.batch_positions = self._choose_positions(tokens_per_update / per_update)
        self._reject_too_long()
        self._next_bucket = [_next_larger(self.buckets, i) for i in range(len(self.buckets))]
        self._shard_batches = [self._count_batches(own) for own in counts]
        self.batches_of_bucket = [sum(batches) for batches in zip(*self._shard_batches, strict=True)]
        self._shard_updates = np.array([-(-sum(batches) // per_update) for batches in self._shard_batches])
        self.updates_per_epoch = int(self._shard_updates.sum())
        self._part_of_epoch = lru_cache(maxsize=1)(self._shuffled_batches)

    @property
    def shapes(self) -> list[MicroBatch]:
        """One bucket batch of padding rows for each length bucket, that is, each shape before the split."""
        return [
            MicroBatch(np.full(self.rows_of(bucket), PADDING_ROW), bucket.src_len, bucket.tgt_len)
            for bucket in self.buckets
        ]

    def update(self, step: int) -> Update:
        """Return update `step`, counted from 0. The last update of a shard may have fewer bucket batches."""
        epoch, i = divmod(step, self.updates_per_epoch)
        shard, i = self._find_shard(epoch, i)
        first = i * self.per_update
        return self.make_update(step, self._part_of_epoch(epoch, shard)[first : first + self.per_update])

    def epoch_batches(self, epoch: int) -> list[MicroBatch]:
        """Return the bucket batches of an epoch in their order, if the corpus is one shard."""
        assert self.shards == 1
        return self._part_of_epoch(epoch, 0)

    def make_update(self, step: int, batches: list[MicroBatch]) -> Update:
        """Return an update of these bucket batches."""
        indices = np.concatenate([batch.indices for batch in batches])
        indices = indices[indices != PADDING_ROW]
        src_tokens, predicted = int(self.src_lengths[indices].sum()), int(self.predicted[indices].sum())
        return Update(step, tuple(batches), src_tokens, predicted, self.seed)

    def with_lengths(self, src_lengths: AnyInts, tgt_lengths: AnyInts) -> "BatchPlan":
        """Return a plan of one shard with other lengths of the same pairs. Buckets and sizes of batches stay the same.

        No pair may be too long for the largest bucket.
        """
        plan = copy(self)
        plan.src_lengths, plan.tgt_lengths, plan.predicted = src_lengths, tgt_lengths, tgt_lengths
        plan._counts = count_lengths(src_lengths, tgt_lengths)
        plan._shard_batches = [self._count_batches(plan._counts)]
        plan._part_of_epoch = lru_cache(maxsize=1)(plan._shuffled_batches)
        return plan

    def rows_of(self, bucket: LengthBucket) -> int:
        """Return the number of rows of this bucket's batches."""
        return int(_rows(bucket, np.int64(self.batch_positions)))

    def padding(self) -> float:
        """Return the share of the token positions of an epoch, source and target together, that are padding."""
        positions = sum(
            batches * self.rows_of(bucket) * (bucket.src_len + bucket.tgt_len)
            for batches, bucket in zip(self.batches_of_bucket, self.buckets, strict=True)
        )
        return 1 - sum(self._tokens()) / positions

    def describe(self) -> str:
        """Return a one-line summary for the log."""
        shards = f" in {self.shards} shards" if self.shards > 1 else ""
        return (
            f"{self.updates_per_epoch:,} updates per epoch{shards}, {len(self.buckets)} length buckets, "
            f"{self.padding():.1%} padding"
        )

    def mean_tokens(self) -> str:
        """Return the mean number of source and target tokens per update over an epoch, in words."""
        source, target = (tokens / self.updates_per_epoch for tokens in self._tokens())
        return f"{source:,.0f} source, {target:,.0f} target"

    def _tokens(self) -> tuple[int, int]:
        """Return the number of source and target tokens of an epoch."""
        return int(self._counts.src @ self._counts.count), int(self._counts.tgt @ self._counts.count)

    def _lengths_of(self, shard: int) -> tuple[AnyInts, AnyInts]:
        return self.src_lengths[shard :: self.shards], self.tgt_lengths[shard :: self.shards]

    def _find_shard(self, epoch: int, i: int) -> tuple[int, int]:
        """Return the shard of update i of an epoch, and the number of the update in the shard."""
        order = permutation(self.shards, self.seed, epoch, "shards")
        ends = self._shard_updates[order].cumsum()
        at = int(np.searchsorted(ends, i, side="right"))
        shard = int(order[at])
        return shard, int(i - ends[at] + self._shard_updates[shard])

    def _choose_positions(self, tokens: float) -> int:
        """Return the size of a bucket batch for which it has about `tokens` tokens of source or target on average.

        The size is in positions: tokens and padding of source or target, whichever is longer. The candidates are the
        multiples of `ROW_MULTIPLE` up to four times `tokens`.
        """
        total = sum(self._tokens()) / 2
        sizes = ROW_MULTIPLE * np.arange(1, 4 * max(1, int(tokens)) // ROW_MULTIPLE + 2)
        batches = np.zeros(len(sizes))
        for bucket, examples in zip(self.buckets, count_examples(self.buckets, self._counts), strict=True):
            batches += examples / np.maximum(ROW_MULTIPLE, _rows(bucket, sizes))
        error = np.abs(total / batches - tokens)
        best = sizes[error == error.min()]
        longest = int(max(self._counts.src.max(), self._counts.tgt.max()))
        fitting = best[best >= ROW_MULTIPLE * longest]  # if sizes give equal batches, prefer one that fits all examples
        return int(fitting[0] if len(fitting) else best[0])

    def _reject_too_long(self) -> None:
        limit = self.batch_positions // ROW_MULTIPLE
        if max(self._counts.src.max(), self._counts.tgt.max()) > limit:
            longest = np.maximum(self.src_lengths, self.tgt_lengths)
            index = int(longest.argmax())
            # No sentence meets a limit of 1: the shortest one is a word and EOS, two tokens.
            shorten = f"Set data.max_length={limit}, raise" if limit > 1 else "Raise"
            raise InputError(
                f"training example {index} (counted from 0, after filtering) has {longest[index]} tokens; the limit "
                f"is {limit}, because a bucket batch has {self.batch_positions} positions and at least "
                f"{ROW_MULTIPLE} rows. {shorten} batches.tokens_per_update or lower batches.per_update."
            )

    def _count_batches(self, counts: LengthCounts) -> list[int]:
        """Return the number of bucket batches of each bucket in an epoch of a shard with these lengths.

        A batch has padding rows only if no other bucket contains its bucket.
        """
        waiting = count_examples(self.buckets, counts).tolist()
        found = []
        for i, bucket in enumerate(self.buckets):
            full, rest = divmod(waiting[i], self.rows_of(bucket))
            larger = self._next_bucket[i]
            if larger is not None:
                waiting[larger] += rest
            found.append(full + (larger is None and rest > 0))
        return found

    def _batches(self, epoch: int, shard: int) -> list[MicroBatch]:
        """Return the bucket batches of a shard in an epoch, bucket after bucket. They contain every example once.

        Examples that do not fill a bucket batch move to a larger bucket. Padding rows fill the last batch of a bucket
        if no other bucket is larger.
        """
        incoming: list[list[Ints]] = [[] for _ in self.buckets]
        batches = []
        members = self._members(shard)
        for i, bucket in enumerate(self.buckets):
            own = members[i][self._permutation(len(members[i]), epoch, i, shard)]
            pool = np.concatenate([*incoming[i], own])
            rows, larger = self.rows_of(bucket), self._next_bucket[i]
            end = self._shard_batches[shard][i] * rows
            if larger is None:
                pool = np.concatenate([pool, np.full(end - len(pool), PADDING_ROW)])
            else:
                incoming[larger].append(pool[end:])
            batches += [
                MicroBatch(pool[start : start + rows], bucket.src_len, bucket.tgt_len) for start in range(0, end, rows)
            ]
        return batches

    def _members(self, shard: int) -> list[Ints]:
        """Return the examples of each bucket in a shard."""
        bucket_of = find_buckets(self.buckets, *map(np.ascontiguousarray, self._lengths_of(shard)))
        examples = shard + self.shards * np.argsort(bucket_of, kind="stable")
        ends = np.bincount(bucket_of, minlength=len(self.buckets)).cumsum()
        return np.split(examples, ends[:-1])

    def _shuffled_batches(self, epoch: int, shard: int) -> list[MicroBatch]:
        batches = self._batches(epoch, shard)
        order = self._permutation(len(batches), epoch, "bricks", shard)  # another word would change every update
        return [batches[i] for i in order]

    def _permutation(self, n: int, epoch: int, name: int | str, shard: int) -> Ints:
        own = (shard,) if self.shards > 1 else ()  # one shard: the updates of versions without shards
        return permutation(n, self.seed, epoch, name, *own)


def _rows(bucket: LengthBucket, positions: Ints | np.int64) -> Ints | np.int64:
    """Return the rows of the bucket that fit `positions` positions, rounded down to a multiple of `ROW_MULTIPLE`."""
    return ROW_MULTIPLE * (positions // (ROW_MULTIPLE * max(bucket.src_len, bucket.tgt_len)))


def _next_larger(buckets: list[LengthBucket], i: int) -> int | None:
    """Return the number of the next bucket that contains bucket i."""
    return next((j for j in range(i + 1, len(buckets)) if buckets[j].contains(buckets[i])), None)
