"""Which words of a source correspond to the words of its translation, from the attention of the decoder."""

import re
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor

from data_pipeline.tokenizers.sentence_piece import EOS_ID
from evaluate.segmentation.marks import Weights, units

_SPACE = "\u2581"
"""Begins a SentencePiece token that begins a word."""


def align(
    pieces: list[str], source: tuple[str, Sequence[int]], target: tuple[str, Sequence[int]], weights: Tensor
) -> Weights | None:
    """Return the weights of the units of a translation on the units of its source (`evaluate.segmentation.marks`).

    They are the mean over all layers and heads, which was better than the last layer. The result is None if the tokens
    cannot be assigned to the words of the texts.

    Args:
        pieces: of the vocabulary.
        source: text and tokens.
        target: text and tokens.
        weights: cross-attention weights (layers, heads, target tokens, source tokens).
    """
    in_source, in_target = (
        token_units([pieces[token] for token in ids if token != EOS_ID], text) for text, ids in (source, target)
    )
    return unit_weights(weights.mean((0, 1)), in_source, in_target, len(units(source[0])), len(units(target[0])))


def token_units(pieces: Sequence[str], text: str) -> list[int] | None:
    """Return the unit of a text in which each token begins; None if the tokens have other words than the text."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    starts = [start for start, _ in units(text)]
    found = []
    word, offset = -1, 0
    for piece in pieces:
        if piece.startswith(_SPACE) or word < 0:
            word, offset = word + 1, 0
        if word >= len(words) or not starts:
            return None
        start, end = words[word]
        found.append(max(0, bisect_right(starts, min(start + offset, end - 1)) - 1))
        offset += len(piece.strip(_SPACE)) if not piece.startswith("<0x") else 1
    return found if word == len(words) - 1 else None


def unit_weights(
    weights_LM: Tensor, source: list[int] | None, target: list[int] | None, n_source: int, n_target: int
) -> Weights | None:
    """Return the weights of units: the sum over the tokens of a source unit, the mean over those of a target unit."""
    if source is None or target is None:
        return None
    index = weights_LM.new_tensor(source).long()
    sums = weights_LM.new_zeros(len(target), n_source).index_add_(1, index, weights_LM[: len(target), : len(source)])
    sums = sums / sums.sum(1, keepdim=True).clamp(min=1e-9)
    rows: list[list[float]] = []
    for unit in range(n_target):
        own = [position for position, found in enumerate(target) if found == unit]
        rows.append(sums[own].mean(0).tolist() if own else rows[-1] if rows else [0.0] * n_source)
    return rows
