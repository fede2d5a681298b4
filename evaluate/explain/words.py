"""Subwords, and the words that they form."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

RULE = (
    "Subwords are joined to words: a word begins at a space, and a subword without letters and digits is a word of its "
    "own. The weight of a word is the sum over its subwords that are attended to, and the mean over its subwords that "
    "attend, so that each row still adds up to 1."
)
"""The rule of `join` and `join_weights`, for readers."""


@dataclass(frozen=True)
class Subwords:
    """A sequence of tokens as a person reads it."""

    texts: tuple[str, ...]
    """Label of each subword: `_` marks the space before it."""
    words: tuple[str, ...]
    """Label of each word."""
    groups: tuple[tuple[int, ...], ...]
    """Positions of the subwords of each word."""


@dataclass(frozen=True)
class Labels:
    """Labels of the tokens of a vocabulary."""

    decode: Callable[[list[int]], str]
    """Returns the text of consecutive ids, with the space before it."""
    special: Mapping[int, str]
    """Label of each token that has no text, such as the end of a sentence."""

    def of(self, token: int) -> str:
        """Return the label of one token."""
        return self.special.get(token) or visible(self.decode([token]))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens as it would be printed, with the labels of tokens without text."""
        plain = self.decode([token for token in ids if token not in self.special])
        return " ".join([*filter(None, [plain.strip()]), *(self.special[t] for t in ids if t in self.special)])

    def subwords(self, ids: Sequence[int]) -> Subwords:
        """Return the subwords and the words of a sequence of tokens."""
        groups = join([self.decode([token]) if token not in self.special else "" for token in ids])
        words = tuple(
            self.special.get(ids[group[0]]) or visible(self.decode([ids[i] for i in group]).strip(" ") or " ")
            for group in groups
        )
        return Subwords(tuple(map(self.of, ids)), words, tuple(map(tuple, groups)))


def visible(text: str) -> str:
    """Return text with a sign for each space and line break."""
    return text.replace(" ", "_").replace("\n", "⏎")


def join(texts: Sequence[str]) -> list[list[int]]:
    """Return the positions of the subwords of each word (`RULE`). "" is a token without text: a word of its own."""
    groups: list[list[int]] = []
    for i, text in enumerate(texts):
        if i == 0 or _begins_word(texts[i - 1], text):
            groups.append([])
        groups[-1].append(i)
    return groups


def join_weights(weights: Tensor, rows: Subwords, columns: Subwords) -> Tensor:
    """Return attention weights (..., subwords, subwords) as (..., words, words)."""
    summed = [weights[..., list(group)].sum(-1) for group in columns.groups]
    joined = weights.new_empty(*weights.shape[:-2], len(rows.groups), len(columns.groups))
    for m, column in enumerate(summed):
        for n, group in enumerate(rows.groups):
            joined[..., n, m] = column[..., list(group)].mean(-1)
    return joined


def _begins_word(before: str, text: str) -> bool:
    if before == "" or text == "" or text.startswith(" "):
        return True
    return before.strip(" ") != "" and (_is_symbol(before) or _is_symbol(text))


def _is_symbol(text: str) -> bool:
    """Return True for punctuation, signs and control characters. U+FFFD is a part of a character."""
    return "\ufffd" not in text and all(unicodedata.category(c)[0] in "PSZC" for c in text)
