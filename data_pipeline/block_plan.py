"""Running text to batches for a language model: blocks of one stream, or documents in rows of their own.

Both give the loop what sentence pairs give it: a plan (update k is a pure function of data, seed and k), batches
of its slices, and slices of the validation text. A label is the token after its position; a token that is given
(a question) and a padded position are not predicted.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from common.errors import InputError
from data_pipeline.batch_plan import (
    NULL_ROW,
    Ints,
    Plan,
    Slice,
    Update,
    UpdatePlan,
    evaluation_slices,
    key,
    permutation,
)
from data_pipeline.examples import IGNORE, Batch
from data_pipeline.token_store import TextIds

BLOCKS_VERSION = 1
"""Raise it whenever the same text, seed and settings would give other blocks, or other rows of documents."""


@dataclass(frozen=True)
class Recipe:
    """What of the training settings decides which rows form an update."""

    tokens_per_update: int
    bricks: int
    shapes: int
    seed: int


class Rows(Protocol):
    """Text as rows of at most `block` positions."""

    predicted_tokens: int
    """Labels that count, all rows together."""

    def plan(self, recipe: Recipe) -> UpdatePlan:
        """Which rows form update k."""

    def slices(self, positions: int) -> list[Slice]:
        """Every row once, in batches of at most so many positions, or one row."""

    def batch(self, part: Slice) -> Batch:
        """Tokens and labels (B, L) of some rows."""

    def beginnings(self, n: int) -> list[list[int]]:
        """What is given of the first rows, at most `n`; [] where nothing is."""


class Stream:
    """All documents one after the other, cut anywhere. A row is the place of its first token."""

    def __init__(self, text: TextIds, block: int) -> None:
        self.text, self.block = text, block
        mask = text.predicted
        self.predicted_tokens = len(text.ids.flat) - 1 if mask is None else int(mask.flat[1:].sum(dtype=np.int64))

    def plan(self, recipe: Recipe) -> "BlockPlan":
        """Blocks in random order, once each an epoch. Raises ValueError where the text is shorter than a block."""
        return BlockPlan(self.text, self.block, recipe)

    def slices(self, positions: int) -> list[Slice]:
        """Blocks side by side; the last one may be short."""
        starts = np.arange(0, len(self.text.ids.flat) - 1, self.block)
        rows = max(1, positions // self.block)
        return [Slice(starts[a : a + rows], self.block, self.block) for a in range(0, len(starts), rows)]

    def batch(self, part: Slice) -> Batch:
        """Tokens and labels (B, block)."""
        ids, mask = self.text.ids.flat, self.text.predicted
        at = part.rows[:, None] + np.arange(self.block + 1)
        real = (part.rows[:, None] != NULL_ROW) & (at < len(ids))
        at = np.where(real, at, 0)
        tokens = np.where(real, ids[at], 0).astype(np.int64)
        counts = real[:, 1:] if mask is None else real[:, 1:] & (mask.flat[at[:, 1:]] == 1)
        labels = np.where(counts, tokens[:, 1:], IGNORE)
        return Batch((torch.from_numpy(tokens[:, :-1].copy()),), torch.from_numpy(labels))

    def beginnings(self, n: int) -> list[list[int]]:
        """Nothing is given: a stream may begin anywhere."""
        return [[]]


class BlockPlan:
    """Updates of equally long blocks of a stream.

    In every epoch the stream is cut at other places, into blocks that do not overlap, in an order of its own. The
    number of blocks does not depend on the epoch, for which less than two blocks are left out. Updates run on from
    one epoch into the next, so all have equally many rows.

    Raises ValueError where the text is shorter than a block and the token after it.
    """

    def __init__(self, text: TextIds, block: int, recipe: Recipe) -> None:
        tokens = len(text.ids.flat)
        if tokens <= block:
            raise InputError(
                f"the training text has {tokens} tokens, and a block needs {block + 1}: add text, or lower "
                "model.max_len or batches.block"
            )
        self.text, self.block, self.seed = text, block, recipe.seed
        self.bricks_per_update = recipe.bricks
        self.rows = max(1, round(recipe.tokens_per_update / recipe.bricks / block))
        self.blocks = max(1, (tokens - 1) // block - 1)
        self._slack = tokens - 1 - self.blocks * block
        self._epoch, self._starts = -1, np.empty(0, np.int64)

    def update(self, step: int) -> Update:
        """Update `step`, counted from 0."""
        rows = self.bricks_per_update * self.rows
        starts = self._blocks(step * rows, rows)
        parts = starts.reshape(self.bricks_per_update, self.rows)
        bricks = tuple(Slice(part, self.block, self.block) for part in parts)
        return Update(step, bricks, rows * self.block, self._count(starts))

    def largest(self, slices: int) -> Slice:
        """A slice as large as any when each brick is cut into `slices`; it has no text."""
        return Slice(np.full(-(-self.rows // slices), NULL_ROW), self.block, self.block)

    def positions(self, slices: int) -> int:
        """Token positions of a slice when each brick is cut into `slices`."""
        return len(self.largest(slices).rows) * self.block

    def describe(self) -> str:
        """Its figures in a few words."""
        rows = self.bricks_per_update * self.rows
        return f"{self.blocks / rows:,.1f} updates an epoch, {rows:,} blocks of {self.block:,} tokens each"

    def _blocks(self, first: int, n: int) -> Ints:
        """The starts of blocks number `first` and on, counted over all epochs."""
        parts = []
        while n:
            epoch, i = divmod(first, self.blocks)
            part = self._starts_of(epoch)[i : i + n]
            parts.append(part)
            first, n = first + len(part), n - len(part)
        return np.concatenate(parts)

    def _starts_of(self, epoch: int) -> Ints:
        if epoch != self._epoch:
            shift = key(self.seed, epoch, "shift") % (self._slack + 1)
            order = permutation(self.blocks, self.seed, epoch, "blocks")
            self._epoch, self._starts = epoch, shift + self.block * order
        return self._starts

    def _count(self, starts: Ints) -> int:
        if self.text.predicted is None:
            return len(starts) * self.block
        return int(self.text.predicted.flat[starts[:, None] + np.arange(1, self.block + 1)].sum(dtype=np.int64))


class Documents:
    """Each document in a row of its own, from its beginning. A row is the number of its document.

    Before the document stands `start_id`, the token that ends the one before it in a stream, so that its first token
    is predicted, too, where it is not given. A prompt has to be preceded by it as well.
    """

    def __init__(self, text: TextIds, block: int, start_id: int) -> None:
        self.text, self.start_id = text, start_id
        self.lengths = text.ids.lengths
        if (longest := int(self.lengths.max())) > block:
            raise InputError(
                f"a document has {longest} tokens, and a row {block} (batches.block, model.max_len): raise both, or "
                "let documents be cut with data.layout=stream"
            )
        self.predicted = self._count()
        self.predicted_tokens = int(self.predicted.sum())

    def plan(self, recipe: Recipe) -> Plan:
        """Bricks of documents of similar length, as those of sentence pairs."""
        return Plan(
            self.lengths,
            self.lengths,
            tokens_per_update=recipe.tokens_per_update,
            bricks=recipe.bricks,
            shapes=recipe.shapes,
            seed=recipe.seed,
            predicted=self.predicted,
        )

    def slices(self, positions: int) -> list[Slice]:
        """Documents of similar length."""
        return evaluation_slices(self.lengths, self.lengths, positions)

    def batch(self, part: Slice) -> Batch:
        """Tokens and labels, padded to the slice's shape."""
        tokens = np.zeros((len(part.rows), part.tgt_len), np.int64)
        labels = np.full((len(part.rows), part.tgt_len), IGNORE)
        for i, row in enumerate(part.rows.tolist()):
            if row == NULL_ROW:
                continue
            ids = self.text.ids[row].astype(np.int64)
            tokens[i, 0] = self.start_id
            tokens[i, 1 : len(ids)] = ids[:-1]
            labels[i, : len(ids)] = np.where(self._counts(row), ids, IGNORE)
        return Batch((torch.from_numpy(tokens),), torch.from_numpy(labels))

    def beginnings(self, n: int) -> list[list[int]]:
        """Of the first `n` documents what stands before the first token that is predicted."""
        rows = range(min(n, len(self.lengths)))
        return [self.text.ids[row][: int(self._counts(row).argmax())].tolist() for row in rows]

    def _counts(self, row: int) -> npt.NDArray[np.bool_]:
        mask = self.text.predicted
        return np.ones(len(self.text.ids[row]), bool) if mask is None else mask[row] == 1

    def _count(self) -> Ints:
        """Labels of each document that count."""
        mask, lengths = self.text.predicted, self.lengths.astype(np.int64)
        if mask is None:
            return lengths
        before = np.concatenate([[0], mask.flat.cumsum(dtype=np.int64)])
        ends = lengths.cumsum()
        return before[ends] - before[ends - lengths]
