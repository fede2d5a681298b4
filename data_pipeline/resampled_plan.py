"""The batch plan of examples that differ in each epoch: other subwords are drawn, or other pairs are repeated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from data_pipeline.batch_plan import BatchPlan
from data_pipeline.buckets import Ints
from data_pipeline.micro_batches import PADDING_ROW, AnyInts, Draw, MicroBatch, Update, permutation

Lengths = tuple[AnyInts, AnyInts]
"""Tokens of each source and of each target, EOS included."""
FEWEST_BATCHES = 0.97
"""An epoch has at most this share of the first one's bucket batches as updates, so that it has enough for all of them.
Only corpora of a few bucket batches differ more from epoch to epoch; their updates may then repeat a bucket batch."""
SampleLengths = Callable[[Draw], Lengths]


class ResampledPlan:
    """Updates of sentence pairs that differ from epoch to epoch. Each epoch contains every pair.

    The plan of the first epoch decides the buckets, the sizes of bucket batches and the number of updates of every
    epoch. So an update is a pure function of (data, seed, k), and only the epoch of update k must be drawn for it. An
    epoch has more or fewer bucket batches than the first one by a few; they are spread evenly over its updates.

    Args:
        make_plan: returns the plan of lengths. Its errors are raised unchanged.
        prepared: lengths in the prepared data.
        sample: returns the lengths of an epoch. None is longer than the longest of `prepared`. None: they are those of
            `prepared`.
        seed: random seed of the order, of the subwords and of the repeated pairs.
        repeats: how often a pair of each direction occurs in an epoch, and the number of pairs of each direction. None:
            every pair occurs once.
    """

    def __init__(
        self,
        make_plan: Callable[[AnyInts, AnyInts], BatchPlan],
        prepared: Lengths,
        sample: SampleLengths | None,
        seed: int,
        repeats: "Repeats | None" = None,
    ) -> None:
        self._prepared, self._sample, self._seed, self._repeats = prepared, sample, seed, repeats
        examples = self._examples(0)
        # The maximum, so that the largest bucket contains the longest prepared sentences, too.
        longest = (np.maximum(*both) for both in zip(prepared, self._drawn(0), strict=True))
        self.first = make_plan(*(_take(lengths, examples) for lengths in longest))
        batches = len(self.first.epoch_batches(0))
        self.updates_per_epoch = max(1, min(round(batches / self.first.per_update), int(FEWEST_BATCHES * batches)))
        self.per_update = self.first.per_update
        self._plan = lru_cache(maxsize=1)(self._make_plan)

    @property
    def shapes(self) -> list[MicroBatch]:
        """One bucket batch of padding rows for each length bucket. No epoch has others."""
        return self.first.shapes

    def update(self, step: int) -> Update:
        """Return update `step`, counted from 0."""
        epoch, i = divmod(step, self.updates_per_epoch)
        plan, examples = self._plan(epoch)
        batches = plan.epoch_batches(epoch)
        start, end = (number * len(batches) // self.updates_per_epoch for number in (i, i + 1))
        own = batches[start : max(end, start + 1)]
        update = plan.make_update(step, [replace(batch, draw=(self._seed, epoch)) for batch in own])
        if examples is None:
            return update
        chosen = [replace(batch, indices=_rename(batch.indices, examples)) for batch in update.bucket_batches]
        return replace(update, bucket_batches=tuple(chosen))

    def describe(self) -> str:
        """Return a one-line summary of the first epoch for the log."""
        shares = "" if self._repeats is None else f"; {self._repeats.describe()}"
        return self.first.describe() + shares

    def mean_tokens(self) -> str:
        """Return the mean number of source and target tokens per update over the first epoch, in words."""
        return self.first.mean_tokens()

    def _make_plan(self, epoch: int) -> tuple[BatchPlan, Ints | None]:
        """Return the plan of an epoch, and the pair of each of its examples."""
        examples = self._examples(epoch)
        src, tgt = (_take(lengths, examples) for lengths in self._drawn(epoch))
        return self.first.with_lengths(src, tgt), examples

    def _drawn(self, epoch: int) -> Lengths:
        return self._prepared if self._sample is None else self._sample((self._seed, epoch))

    def _examples(self, epoch: int) -> Ints | None:
        return None if self._repeats is None else self._repeats.examples(self._seed, epoch)


class Repeats:
    """Which pairs of several directions an epoch repeats (`data.sampling_temperature`).

    A direction with n pairs has a share of the epoch that is proportional to n^(1/T). The largest direction occurs
    once. Another one occurs a whole number of times, and a random part of it, which is drawn in each epoch, once more.
    So an epoch contains every pair, and all epochs have the same number of examples.

    Args:
        names: names of the directions, for `describe`.
        sizes: number of pairs of each direction, one direction after the other.
        temperature: T.
    """

    def __init__(self, names: Sequence[str], sizes: Sequence[int], temperature: float) -> None:
        self._names, self._sizes = names, sizes
        weights = [size ** (1 / temperature - 1) for size in sizes]  # repetitions of a pair, apart from a factor
        self.totals = [round(size * weight / min(weights)) for size, weight in zip(sizes, weights, strict=True)]
        """Number of examples of each direction in an epoch."""

    def examples(self, seed: int, epoch: int) -> Ints:
        """Return the number of the pair of each example of an epoch."""
        parts, first = list[Ints](), 0
        for direction, (size, total) in enumerate(zip(self._sizes, self.totals, strict=True)):
            whole, rest = divmod(total, size)
            drawn = permutation(size, seed, epoch, "repeats", direction)[:rest]
            parts += [first + np.arange(size)] * whole + [first + np.sort(drawn)]
            first += size
        return np.concatenate(parts)

    def describe(self) -> str:
        """Return the share of each direction, and how often an epoch has each of its pairs."""
        total = sum(self.totals)
        parts = zip(self._names, self._sizes, self.totals, strict=True)
        return ", ".join(f"{name} {own / total:.0%} (x{own / size:.3g})" for name, size, own in parts)


def _take(lengths: AnyInts, examples: Ints | None) -> AnyInts:
    return lengths if examples is None else lengths[examples]


def _rename(indices: Ints, examples: Ints) -> Ints:
    """Return the pair of each example. A padding row stays one."""
    return np.where(indices == PADDING_ROW, PADDING_ROW, examples[indices])
