"""Numbers of a text that its translation must have."""

import re
from collections import Counter

from common.text import name_lines
from evaluate.segmentation.placeholders import MASK, MaskedText, Span

_SEPARATOR = "[.,'’]"
_DIGITS = re.compile(r"\d+")
_TIME = re.compile(r"(?<![\d:])\d{1,2}:\d\d(?![\d:])")
"""A time of day, which languages often write as words: 2:30 is "halb drei"."""
_NUMBER = re.compile(r"(?<!\w)\+?\d+(?:[.,:/'’ -]\d+)*(?!\w)")
"""A number, or several with one sign between them, as in 030 123456 and 3/4."""


def lost_numbers(source: str, translation: str) -> list[str]:
    """Return the numbers of a text whose digits its translation lacks; separators such as 1,000 and 1.000 do not count.

    Times of day are not examined.
    """
    if not _DIGITS.search(source):
        return []
    source = _TIME.sub(" ", source)
    lost = [_count(source, separator) - _count(translation, separator) for separator in (_SEPARATOR, "[.,'’ ]")]
    return sorted(min(lost, key=len).elements()) if all(lost) else []


def _count(text: str, separator: str) -> Counter[str]:
    """Return how often a text has each number; a separator between two digits is no end of a number."""
    return Counter(_DIGITS.findall(re.sub(rf"(?<=\d){separator}(?=\d)", "", text)))


def mask_numbers(text: str) -> MaskedText:
    """Return the text with its numbers masked. Digits that belong to a word, as in MP3, stay."""
    spans = tuple(Span(match[0], "number") for match in _NUMBER.finditer(text))
    return MaskedText(_NUMBER.sub(MASK, text), spans)


def numbers_note(lines: list[int]) -> str | None:
    """Return a note about these lines, whose translation lacks numbers; None if there are none."""
    if not lines:
        return None
    verb, pronoun = ("have", "their") if len(lines) > 1 else ("has", "its")
    return f"{name_lines(lines)} {verb} numbers that {pronoun} translation lacks or has as words"
