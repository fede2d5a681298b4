"""The block plan decides which blocks of a token stream form update k, a pure function of (text, seed, k)."""

import numpy as np

from common.errors import InputError
from data_pipeline.buckets import Ints
from data_pipeline.micro_batches import PADDING_ROW, AnyInts, MicroBatch, Update, key, permutation

BLOCKS_VERSION = 1
"""Raise it if a change of the code gives other blocks, or other rows of documents, for the same text, seed and
settings."""


class BlockPlan:
    """Updates of equally long blocks of a stream. The index of a block is the position of its first token.

    In every epoch the stream is divided at other positions, into blocks that do not overlap, in another order. So that
    the number of blocks does not depend on the epoch, fewer than two blocks of tokens are omitted in each. Updates
    continue from one epoch to the next, so all have the same number of rows.

    Args:
        tokens: length of the stream.
        block: tokens of a block.
        tokens_per_update: approximate number of tokens in an update.
        per_update: number of bucket batches in an update.
        predicted: for each token of the stream, 1 if the loss counts it, otherwise 0. None: all are counted.

    Raises:
        InputError: the stream is shorter than a block and the token after it.
    """

    def __init__(
        self,
        tokens: int,
        block: int,
        *,
        tokens_per_update: int,
        per_update: int,
        seed: int,
        predicted: AnyInts | None = None,
    ) -> None:
        if tokens <= block:
            raise InputError(
                f"the training text has {tokens} tokens, but a block of {block} needs {block + 1}. Add text, or lower "
                "model.max_len or batches.block."
            )
        self.block, self.per_update, self.seed, self.predicted = block, per_update, seed, predicted
        self.rows = max(1, round(tokens_per_update / per_update / block))
        self.blocks = max(1, (tokens - 1) // block - 1)
        self._slack = tokens - 1 - self.blocks * block
        self._epoch, self._starts = -1, np.empty(0, np.int64)

    @property
    def shapes(self) -> list[MicroBatch]:
        """One bucket batch of padding rows."""
        return [MicroBatch(np.full(self.rows, PADDING_ROW), self.block, self.block)]

    def update(self, step: int) -> Update:
        """Return update `step`, counted from 0."""
        rows = self.per_update * self.rows
        starts = self._blocks(step * rows, rows)
        groups = starts.reshape(self.per_update, self.rows)
        batches = tuple(MicroBatch(group, self.block, self.block) for group in groups)
        return Update(step, batches, rows * self.block, self._count_predicted(starts), self.seed)

    def describe(self) -> str:
        """Return a one-line summary for the log."""
        rows = self.per_update * self.rows
        return f"{self.blocks / rows:,.1f} updates per epoch, {rows:,} blocks of {self.block:,} tokens each"

    def mean_tokens(self) -> str:
        """Return the number of tokens per update, in words."""
        return f"{self.per_update * self.rows * self.block:,}"

    def _blocks(self, first: int, n: int) -> Ints:
        """Return the starts of n blocks from number `first`, counted over all epochs."""
        found = []
        while n:
            epoch, i = divmod(first, self.blocks)
            starts = self._starts_of(epoch)[i : i + n]
            found.append(starts)
            first, n = first + len(starts), n - len(starts)
        return np.concatenate(found)

    def _starts_of(self, epoch: int) -> Ints:
        if epoch != self._epoch:
            shift = key(self.seed, epoch, "shift") % (self._slack + 1)
            order = permutation(self.blocks, self.seed, epoch, "blocks")
            self._epoch, self._starts = epoch, shift + self.block * order
        return self._starts

    def _count_predicted(self, starts: Ints) -> int:
        if self.predicted is None:
            return len(starts) * self.block
        return int(self.predicted[starts[:, None] + np.arange(1, self.block + 1)].sum(dtype=np.int64))
