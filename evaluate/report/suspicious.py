"""Translations that are wrong in ways a program can see: loops, copies of the source, lengths that cannot be right.

All limits are rules of thumb, for finding sentences to look at. "Words" are runs of letters and digits, and runs of
punctuation marks, compared without case.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Flag = Literal["loop", "copied source", "too short", "too long", "empty"]

LOOP_WORDS = 8
"""A loop's longest piece, in words or, within a word, in characters."""
LOOP_TIMES = 3
"""Times that a piece of words stands in a row, at least; within a word, two more."""
COPY_SHARE = 0.5
"""Share of a translation's words that are the source's, at least."""
COPY_SURPLUS = 0.25
"""So much more is shared than the reference shares with the source: names and numbers are rightly the same."""
COPY_WORDS = 4
"""A shorter translation is not called a copy."""
LENGTH_FACTOR = 2
"""Longer than the reference by this factor is too long; shorter, too short …"""
LENGTH_SLACK = 4
"""… if it is also this many words away from it."""

WORD = re.compile(r"\w+|[^\w\s]+")


def find_flags(source: str | None, hypothesis: str, references: Sequence[str]) -> list[Flag]:
    """What is suspicious in a translation; without a source, copies are not looked for and a loop is one that the
    references have not."""
    if not hypothesis.strip():
        return ["empty"] if any(text.strip() for text in (source, *references) if text) else []
    found: list[Flag] = []
    words, given = _words(hypothesis), _words(source or "")
    if _loops(words, [_words(text) for text in (references if source is None else [source])]):
        found.append("loop")
    share = _share(words, given)
    if share >= COPY_SHARE and len(words) >= COPY_WORDS:
        expected = max(_share(_words(reference), given) for reference in references)
        if share >= expected + COPY_SURPLUS:
            found.append("copied source")
    lengths = [len(_words(reference)) for reference in references]
    if len(words) * LENGTH_FACTOR < min(lengths) and min(lengths) - len(words) >= LENGTH_SLACK:
        found.append("too short")
    if len(words) > max(lengths) * LENGTH_FACTOR and len(words) - max(lengths) >= LENGTH_SLACK:
        found.append("too long")
    return found


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _loops(words: list[str], originals: list[list[str]]) -> bool:
    """Whether a piece stands in a row more often than it may, and than any does in the originals."""
    return any(
        times(words) > max(allowed, *(times(original) for original in originals))
        for times, allowed in ((_times_in_a_row, LOOP_TIMES - 1), (_times_in_a_word, LOOP_TIMES + 1))
    )


def _times_in_a_row(items: Sequence[str], shortest: int = 1) -> int:
    """How often, at most, one piece of `shortest` to `LOOP_WORDS` items follows itself; 1 where none does.

    A piece of n stands k times in a row where (k − 1)·n items in a row equal the item n places before.
    """
    most = 1
    for n in range(shortest, min(LOOP_WORDS, len(items) // 2) + 1):
        equal = 0
        for before, item in zip(items, items[n:], strict=False):
            equal = equal + 1 if item == before else 0
            most = max(most, equal // n + 1)
    return most


def _times_in_a_word(words: Sequence[str]) -> int:
    """The same within each word, where a single letter or digit may well be repeated."""
    return max((_times_in_a_row(word, shortest=2) for word in words), default=1)


def _share(words: list[str], given: list[str]) -> float:
    """Share of `words` that are also in `given`, each as often as it is there."""
    return sum((Counter(words) & Counter(given)).values()) / len(words) if words else 0.0
