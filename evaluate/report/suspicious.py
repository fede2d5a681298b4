"""Suspicious translations: repetition loops, copies of the source, wrong lengths, empty output.

All limits are rules of thumb that find translations to check by hand. "Words" are sequences of letters and digits, or
of punctuation marks, compared without case. In a script without spaces, each character counts as a word for copies and
lengths.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from common.text import is_blank
from common.writing_systems import split_words

Problem = Literal["loop", "copied source", "too short", "too long", "empty"]

LOOP_WORDS = 8
"""Largest length of the repeated part of a loop, in words or, within a word, in characters."""
LOOP_TIMES = 3
"""Smallest number of repetitions of a sequence of words. Within a word, two more are needed."""
COPY_SHARE = 0.5
"""Smallest share of a translation's words that also occur in the source."""
COPY_SURPLUS = 0.25
"""How much larger this share must be than that of the reference: names and numbers are equal in both languages."""
COPY_WORDS = 4
"""Smallest number of words in a translation that counts as a copy."""
LENGTH_FACTOR = 2
"""A translation that is longer or shorter than the reference by more than this factor is too long or too short …"""
LENGTH_SLACK = 4
"""… if the difference is also at least this many words."""

WORD = re.compile(r"\w+|[^\w\s]+")


def find_problems(source: str | None, hypothesis: str, references: Sequence[str]) -> list[Problem]:
    """Return what is suspicious about a translation.

    Without a source, copies are not detected, and a loop must not occur in the references.
    """
    if is_blank(hypothesis):
        return [] if all(is_blank(text or "") for text in (source, *references)) else ["empty"]
    found: list[Problem] = []
    words, source_words = _words(hypothesis), _words(source or "")
    originals = references if source is None else [source]
    if _has_loop(_runs(hypothesis), [_runs(text) for text in originals]):
        found.append("loop")
    share = _share(words, source_words)
    if share >= COPY_SHARE and len(words) >= COPY_WORDS:
        expected = max(_share(_words(reference), source_words) for reference in references)
        if share >= expected + COPY_SURPLUS:
            found.append("copied source")
    lengths = [len(_words(reference)) for reference in references]
    if len(words) * LENGTH_FACTOR < min(lengths) and min(lengths) - len(words) >= LENGTH_SLACK:
        found.append("too short")
    if len(words) > max(lengths) * LENGTH_FACTOR and len(words) - max(lengths) >= LENGTH_SLACK:
        found.append("too long")
    return found


def _words(text: str) -> list[str]:
    return split_words(text.casefold())


def _runs(text: str) -> list[str]:
    """Return the words of a text; in a script without spaces, the characters between punctuation marks are a word."""
    return WORD.findall(text.casefold())


def _has_loop(words: list[str], originals: list[list[str]]) -> bool:
    """Return True if a sequence repeats more often than allowed, and more often than any does in the originals."""
    return any(
        times(words) > max(allowed, *(times(original) for original in originals))
        for times, allowed in ((_repetitions, LOOP_TIMES - 1), (_repetitions_in_words, LOOP_TIMES + 1))
    )


def _repetitions(items: Sequence[str], shortest: int = 1) -> int:
    """Return the largest number of repetitions of any sequence of `shortest` to `LOOP_WORDS` items; 1 if none repeats.

    A sequence of n items repeats k times if (k − 1)·n consecutive items equal the item n positions before them.
    """
    most = 1
    for n in range(shortest, min(LOOP_WORDS, len(items) // 2) + 1):
        equal = 0
        for before, item in zip(items, items[n:], strict=False):
            equal = equal + 1 if item == before else 0
            most = max(most, equal // n + 1)
    return most


def _repetitions_in_words(words: Sequence[str]) -> int:
    """Return the largest number of repetitions within a word; a single repeated character does not count."""
    return max((_repetitions(word, shortest=2) for word in words), default=1)


def _share(words: list[str], others: list[str]) -> float:
    """Return the share of `words` that also occur in `others`, each as often as it occurs there."""
    return sum((Counter(words) & Counter(others)).values()) / len(words) if words else 0.0
