"""sacreBLEU's TER, computed for many shifts at once.

For a line of 250 words, sacreBLEU computes up to 1,000 edit distances one after another in Python, which takes
seconds. `FastTER` returns the same numbers. It counts the possible shifts of a step first, because the step in which
sacreBLEU's limit of 1,000 is reached changes nothing, and computes the distances of all shifts in one NumPy array.

Letters of the shapes: N words of the hypothesis, R words of the reference, C candidates.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import TER
from sacrebleu.metrics.lib_ter import trace_to_alignment

SHIFT_WORDS, SHIFT_DISTANCE, BAND, CANDIDATES = 10, 50, 25, 1000
"""sacreBLEU's limits: words of a shift, its distance, words beside the diagonal, and shifts that are compared."""
FAR = 2**29
"""Distance of a cell outside the band."""
Array = NDArray[np.int32]


class FastTER(TER):
    """sacreBLEU's TER. A version of sacreBLEU without this method name would use its own slower computation."""

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
        """Return the edits to the closest reference, and the mean length of the references."""
        references = ref_kwargs["ref_words"]
        edits = [count_edits(hypothesis.split(), words) for words in references]
        return [min(edits), sum(map(len, references)) / len(references)]


class Shift(NamedTuple):
    """Words `start` to `start + length` of the hypothesis move to `target`."""

    length: int
    start: int
    target: int

    def apply(self, words: list[int]) -> list[int]:
        """Return the shifted words."""
        moved, rest = (
            words[self.start : self.start + self.length],
            words[: self.start] + words[self.start + self.length :],
        )
        target = self.target if self.target <= self.start + self.length else self.target - self.length
        return rest[:target] + moved + rest[target:]


def count_edits(hypothesis: list[str], reference: list[str]) -> int:
    """Return the number of insertions, deletions, substitutions and shifts that TER counts."""
    if not reference:
        return len(hypothesis)
    numbers = {word: number for number, word in enumerate({*hypothesis, *reference})}
    words, target = [numbers[word] for word in hypothesis], np.array([numbers[word] for word in reference], np.int32)
    shifts = checked = 0
    while True:
        distance, trace = _trace(words, target)
        candidates = list(_shifts(words, target, trace, CANDIDATES - checked))
        checked += len(candidates)
        if not candidates or checked >= CANDIDATES:
            return shifts + distance
        unique = list(set(candidates))
        moved = [shift.apply(words) for shift in unique]
        gains = distance - _distances(moved, target)
        gain, *_, best = max(
            (int(gain), shift.length, -shift.start, -shift.target, i)
            for i, (gain, shift) in enumerate(zip(gains, unique, strict=True))
        )
        if gain <= 0:
            return shifts + distance
        shifts, words = shifts + 1, moved[best]


def _shifts(words: list[int], target: Array, trace: str, most: int) -> Iterator[Shift]:
    """Yield sacreBLEU's candidates in its order. It ends after the equal words with which `most` are reached."""
    position, wrong_r, wrong_h = trace_to_alignment(trace)
    found = 0
    for start_h, start_r in _equal_words(words, target, wrong_h, wrong_r):
        longest = min(SHIFT_WORDS, len(words) - start_h, len(target) - start_r)
        for length in range(1, longest + 1):
            if words[start_h + length - 1] != target[start_r + length - 1]:
                break
            if not any(wrong_h[start_h : start_h + length]) or not any(wrong_r[start_r : start_r + length]):
                continue
            if start_h <= position[start_r] < start_h + length:
                continue
            # "Before the first word", or behind the words that are aligned to these words of the reference.
            places = [0 if at < 0 else position[at] + 1 for at in range(start_r - 1, start_r + length)]
            kept = [place for place, before in zip(places, [-1, *places], strict=False) if place != before]
            yield from (Shift(length, start_h, place) for place in kept)
            found += len(kept)
            if found >= most:
                return


def _equal_words(words: list[int], target: Array, wrong_h: list[int], wrong_r: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the places of equal words, without those from which every shift contains correct words only."""
    start_h, start_r = np.nonzero(np.array(words, np.int32)[:, None] == target)
    for h, r in zip(start_h.tolist(), start_r.tolist(), strict=True):
        if abs(h - r) <= SHIFT_DISTANCE and any(wrong_h[h : h + SHIFT_WORDS]) and any(wrong_r[r : r + SHIFT_WORDS]):
            yield h, r


def _distances(hypotheses: list[list[int]], target: Array) -> Array:
    """Return the edit distance of each hypothesis, (C,). All have the same number of words."""
    *_, last_RC = _rows(np.array(hypotheses, np.int32).T, target)
    return last_RC[-1]


def _trace(words: list[int], target: Array) -> tuple[int, str]:
    """Return the edit distance and the operations from the reference to the hypothesis, as sacreBLEU chooses them."""
    rows = [row_RC[:, 0].tolist() for row_RC in _rows(np.array([words], np.int32).T, target)]
    i, j, operations = len(words), len(target), []
    while i or j:
        same = i and j and words[i - 1] == target[j - 1]
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (not same):
            i, j, operation = i - 1, j - 1, " " if same else "s"
        elif i and rows[i][j] == rows[i - 1][j] + 1:
            i, operation = i - 1, "i"
        else:
            j, operation = j - 1, "d"
        operations.append(operation)
    return rows[-1][-1], "".join(reversed(operations))


def _rows(words_NC: Array, target: Array) -> Iterator[Array]:
    """Yield the rows (R + 1, C) of Levenshtein's distance matrix. Cells outside sacreBLEU's band are `FAR`.

    A row is valid until the next but one.
    """
    (n, count), r = words_NC.shape, len(target)
    ratio = r / n if n else 1.0
    band = math.ceil(ratio / 2 + BAND) if ratio / 2 > BAND else BAND
    column_R1 = np.arange(r + 1, dtype=np.int32)[:, None]
    previous_RC = np.broadcast_to(column_R1, (r + 1, count))
    buffers = [np.full((r + 1, count), FAR, np.int32) for _ in range(2)]
    yield previous_RC
    for i in range(1, n + 1):
        diagonal, row_RC = math.floor(i * ratio), buffers[i % 2]
        low, high = max(0, diagonal - band), r + 1 if i == n else min(r + 1, diagonal + band)
        best = previous_RC[low:high] + 1
        first = max(low, 1)
        differs = target[first - 1 : high - 1, None] != words_NC[i - 1]
        np.minimum(best[first - low :], previous_RC[first - 1 : high - 1] + differs, out=best[first - low :])
        # An insertion costs 1 per column, so the best way from the left is a running minimum.
        best -= column_R1[low:high]
        row_RC[low:high] = np.minimum.accumulate(best, axis=0) + column_R1[low:high]
        row_RC[:low] = FAR
        yield row_RC
        previous_RC = row_RC
