"""BPE-dropout (Provilkov et al., 2020): byte-pair encoding that leaves out random merges.

SentencePiece has it too, but its random numbers differ from process to process, whatever the seed. Here they come from
a generator whose numbers are the same everywhere, and each state of a word is computed only once.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from data_pipeline.micro_batches import key

MOST_STATES = 500_000
"""States that are remembered. Then all are forgotten, to bound the memory."""
LONGEST = 10_000
"""Largest number of merges that are applied one after another without leaving one out."""
BLOCK = 4096
"""Random numbers that are drawn at once."""
_WORD = re.compile("\u2581[^\u2581]*")


class _State:
    """A word as a sequence of subwords, on the way from characters to the result of all merges."""

    __slots__ = ("ids", "merges", "path", "symbols")

    def __init__(self, symbols: tuple[str, ...], ids: tuple[int, ...], merges: tuple[int, ...]) -> None:
        self.symbols, self.ids = symbols, ids
        self.merges = merges
        """Positions of the possible merges, the one with the highest priority first."""
        self.path: tuple[_State, ...] = ()
        """This state and those that follow it if no merge is skipped; empty until `_complete` computes it."""

    def merged(self, position: int) -> tuple[str, ...]:
        """Return the subwords after a merge."""
        left, right = self.symbols[position : position + 2]
        return (*self.symbols[:position], left + right, *self.symbols[position + 2 :])


class BpeDropout:
    """Random subwords of texts.

    Args:
        scores: each subword and its priority. Of two subwords, the one with the higher score is merged first.
        encode_symbol: returns the ids of a subword or of a character.
        dropout: probability of leaving out a possible merge, drawn again before each merge that is applied.
        whole_words: ids of words that are never split.
    """

    def __init__(
        self,
        scores: dict[str, float],
        encode_symbol: Callable[[str], list[int]],
        dropout: float,
        whole_words: Mapping[str, int] | None = None,
    ) -> None:
        self._scores, self._encode_symbol = scores, encode_symbol
        self._whole_words = whole_words or {}
        self._kept = _powers(1 - dropout)  # the number of powers above a random number is n with probability
        self._dropped = _powers(dropout)  # base^n (1 - base)
        self._states: dict[tuple[str, ...], _State] = {}
        self._words: dict[str, _State] = {}

    def encode(self, text: str, random: Iterator[float]) -> list[int]:
        """Return the ids of random subwords of a text. Each of its words begins with "\u2581"."""
        ids: list[int] = []
        for word in _WORD.findall(text):
            state = self._words.get(word)
            if state is None:
                state = self._words[word] = self._start(word)
            ids += self._draw(state, random)
        if len(self._states) > MOST_STATES:
            self._states, self._words = {}, {}
        return ids

    def _start(self, word: str) -> _State:
        if word in self._whole_words:
            return _State((word,), (self._whole_words[word],), ())
        return self._state(tuple(word))

    def _draw(self, state: _State, random: Iterator[float]) -> tuple[int, ...]:
        """Return the ids at the end of a random path.

        Before each merge, every possible merge is skipped with the probability `dropout`. Of the others, the one with
        the highest priority is applied. If there are no others, the path ends.
        """
        while True:
            path = state.path or self._complete(state)
            steps = bisect_left(self._kept, -next(random))  # merges before the first that is skipped
            if steps >= len(path) - 1:
                return path[-1].ids
            state = path[steps]
            left_out = 1 + bisect_left(self._dropped, -next(random))
            if left_out >= len(state.merges):
                return state.ids
            state = self._state(state.merged(state.merges[left_out]))

    def _complete(self, state: _State) -> tuple[_State, ...]:
        path = [state]
        while merges := path[-1].merges:
            path.append(self._state(path[-1].merged(merges[0])))
        state.path = tuple(path)
        return state.path

    def _state(self, symbols: tuple[str, ...]) -> _State:
        state = self._states.get(symbols)
        if state is None:
            ids = tuple(token for symbol in symbols for token in self._encode_symbol(symbol))
            state = self._states[symbols] = _State(symbols, ids, self._merges(symbols))
        return state

    def _merges(self, symbols: tuple[str, ...]) -> tuple[int, ...]:
        scores = [self._scores.get(symbols[i] + symbols[i + 1]) for i in range(len(symbols) - 1)]
        possible = [(-score, i) for i, score in enumerate(scores) if score is not None]
        return tuple(i for _, i in sorted(possible))


def random_numbers(*parts: int | str) -> Iterator[float]:
    """Yield numbers from 0 to below 1 that depend only on `parts`, with every version of NumPy."""
    generator = np.random.Philox(key=key(*parts))
    while True:
        yield from ((generator.random_raw(BLOCK) >> np.uint64(11)) * 2.0**-53).tolist()


def _powers(base: float) -> list[float]:
    """Return -base, -base squared, and so on, as far as random numbers can reach."""
    powers = [-base]
    while powers[-1] < -(2.0**-53) and len(powers) < LONGEST:
        powers.append(powers[-1] * base)
    return powers
