"""Sentences in batches of similar length, each distinct one once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_pipeline.tokenizers.sentence_piece import PAD_ID


class Pair(NamedTuple):
    """A source, and a target or what one begins with."""

    source: tuple[int, ...]
    target: tuple[int, ...] = ()


def places(pairs: Iterable[Pair]) -> dict[Pair, list[int]]:
    """Each distinct pair with all places where it stands.

    What is computed once is the same everywhere: with two copies in different batches, rounding could tell them
    apart.
    """
    found: dict[Pair, list[int]] = {}
    for place, pair in enumerate(pairs):
        found.setdefault(pair, []).append(place)
    return found


def batches(
    pairs: Iterable[Pair], fits: Callable[[int, int, int], bool], output: Callable[[Pair], int]
) -> Iterator[list[Pair]]:
    """The pairs in batches, longest source first.

    Args:
        fits: whether a batch of (pairs, tokens of the padded source, tokens of the longest output) is small enough;
            one pair alone always is.
        output: tokens of the longest output of a pair.

    Longest first, since a batch that does not fit the memory should say so at once. Sorting by the ids too makes
    the batches the same in whatever order distinct pairs come.
    """
    batch: list[Pair] = []
    longest = 0
    for pair in sorted(pairs, key=lambda pair: (-len(pair.source), -output(pair), pair)):
        longest = max(longest, output(pair))
        if batch and not fits(len(batch) + 1, len(batch[0].source), longest):
            yield batch
            batch, longest = [], output(pair)
        batch.append(pair)
    if batch:
        yield batch


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """The rows as one tensor (int64), filled up with `PAD_ID` at their ends."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])
