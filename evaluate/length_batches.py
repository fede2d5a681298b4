"""Batches of pairs of similar length, each distinct pair once; results in the order of the input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from common.progress_bar import ProgressBar
from data_pipeline.tokenizers.sentence_piece import PAD_ID
from evaluate.decoding.terms import Term

Result = TypeVar("Result")
DELAY = 3
"""Seconds after which a terminal shows the progress."""


class IdPair(NamedTuple):
    """Token ids of a source, and of its target or the beginning of its target."""

    source: tuple[int, ...]
    target: tuple[int, ...] = ()
    terms: tuple[Term, ...] = ()
    """Terms that the output must contain."""
    leaves: int = 0
    """Number of words of the tree that the output must be; 0: the output need not be a tree."""
    least: int = 1
    """Smallest number of tokens of this tree, EOS included."""

    @property
    def least_output(self) -> int:
        """Number of tokens with which an output can certainly have the beginning, the terms, the tree and EOS."""
        return len(self.target) + max(self.least, sum(term.length for term in self.terms))


Fits = Callable[[int, int, int], bool]
"""Return True if a batch is small enough: its pairs, the tokens of its longest source and of its longest output."""


MAX_LOGITS = 2**25
"""Largest number of logits in a batch of `fits_forced`: sentences times target tokens times vocabulary."""


def fits_forced(batch_tokens: int, vocab_size: int) -> Fits:
    """Return the limit of batches whose targets are given: all their logits are in memory at once."""

    def fits(rows: int, source_tokens: int, target_tokens: int) -> bool:
        positions = rows * (source_tokens + target_tokens)
        return positions <= batch_tokens and rows * target_tokens * vocab_size <= MAX_LOGITS

    return fits


def map_batches(
    compute: Callable[[list[IdPair]], Sequence[Result]],
    pairs: Sequence[IdPair],
    fits: Fits,
    output_length: Callable[[IdPair], int],
    *,
    skip: Callable[[IdPair], bool],
    skipped: Result,
    progress: bool,
    what: str = "translating",
) -> list[Result]:
    """Return a result for each pair, in order.

    Equal pairs are computed once. In different batches, rounding could give them different results.

    Args:
        compute: returns one result for each pair of a batch.
        fits: limits the size of a batch, except for a single pair.
        output_length: number of tokens of the longest output of a pair.
        skip: True for a pair that is not computed; its result is `skipped`.
        progress: show the progress on standard error.
        what: name of the work in the progress.
    """
    indices: dict[IdPair, list[int]] = {}
    for index, pair in enumerate(pairs):
        indices.setdefault(pair, []).append(index)
    results = [skipped] * len(pairs)
    with ProgressBar(what, len(pairs), "lines", show=progress, delay=DELAY) as bar:
        bar.update(sum(map(skip, pairs)))
        for batch in length_batches((pair for pair in indices if not skip(pair)), fits, output_length):
            for pair, result in zip(batch, compute(batch), strict=True):
                for index in indices[pair]:
                    results[index] = result
                bar.update(len(indices[pair]))
    return results


def length_batches(
    pairs: Iterable[IdPair], fits: Fits, output_length: Callable[[IdPair], int]
) -> Iterator[list[IdPair]]:
    """Yield distinct pairs in batches, the longest source first. `fits` limits all batches of more than one pair.

    The largest batch comes first, so that a lack of memory shows at once. The pairs are also sorted by their ids, so
    that the batches do not depend on the order of the pairs.
    """
    batch: list[IdPair] = []
    longest = 0
    for pair in sorted(pairs, key=lambda pair: (-len(pair.source), -output_length(pair), pair)):
        longest = max(longest, output_length(pair))
        if batch and not fits(len(batch) + 1, len(batch[0].source), longest):
            yield batch
            batch, longest = [], output_length(pair)
        batch.append(pair)
    if batch:
        yield batch


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the rows as one tensor (int64), filled with `PAD_ID` at their ends."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])
