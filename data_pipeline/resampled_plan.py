"""The batch plan of examples whose lengths differ in each epoch, because their subwords are drawn again."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from data_pipeline.batch_plan import BatchPlan
from data_pipeline.micro_batches import AnyInts, Draw, MicroBatch, Update

Lengths = tuple[AnyInts, AnyInts]
"""Tokens of each source and of each target, EOS included."""
FEWEST_BATCHES = 0.97
"""An epoch has at most this share of the first one's bucket batches as updates, so that it has enough for all of them.
Only corpora of a few bucket batches differ more from epoch to epoch; their updates may then repeat a bucket batch."""
SampleLengths = Callable[[Draw], Lengths]


class ResampledPlan:
    """Updates of sentence pairs with sampled subwords. Each epoch contains every pair.

    The plan of the first epoch decides the buckets, the sizes of bucket batches and the number of updates of every
    epoch. So an update is a pure function of (data, seed, k), and only the epoch of update k must be drawn for it. An
    epoch has more or fewer bucket batches than the first one by a few; they are spread evenly over its updates.

    Args:
        make_plan: returns the plan of lengths. Its errors are raised unchanged.
        prepared: lengths in the prepared data.
        sample: returns the lengths of an epoch. None is longer than the longest of `prepared`.
        seed: random seed of the order and of the subwords.
    """

    def __init__(
        self, make_plan: Callable[[AnyInts, AnyInts], BatchPlan], prepared: Lengths, sample: SampleLengths, seed: int
    ) -> None:
        self._sample, self._seed = sample, seed
        drawn = sample((seed, 0))
        # The maximum, so that the largest bucket contains the longest prepared sentences, too.
        self.first = make_plan(*(np.maximum(*both) for both in zip(prepared, drawn, strict=True)))
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
        plan = self._plan(epoch)
        batches = plan.epoch_batches(epoch)
        start, end = (number * len(batches) // self.updates_per_epoch for number in (i, i + 1))
        own = batches[start : max(end, start + 1)]
        return plan.make_update(step, [replace(batch, draw=(self._seed, epoch)) for batch in own])

    def describe(self) -> str:
        """Return a one-line summary of the first epoch for the log."""
        return self.first.describe()

    def mean_tokens(self) -> str:
        """Return the mean number of source and target tokens per update over the first epoch, in words."""
        return self.first.mean_tokens()

    def _make_plan(self, epoch: int) -> BatchPlan:
        return self.first.with_lengths(*self._sample((self._seed, epoch)))
