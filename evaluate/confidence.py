"""Confidence of a translation, and the language of a source text, from a calibration in `config.json`.

`python -m evaluate.calibrate` fits a calibration and adds it to a model folder (docs/translating.md).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.text import name_lines
from transformer.pretrained import read_about

FIELD = "calibration"
"""Field of `config.json`."""
MIN_TOKENS = 4
"""A text whose common words have fewer tokens, EOS included, is never reported as one in another language."""
MIN_BITS, MIN_BITS_PER_TOKEN = 12.0, 1.5
"""A text is in the target language if it is so much likelier there than in the source language: together, and per
token."""
_ZERO = ord("a")


@dataclass(frozen=True)
class Calibration:
    """What turns log-probability and source tokens into a confidence, and what tells the two languages apart."""

    bias: float
    log_prob: float
    """Weight of the log-probability per token of the translation."""
    frequency: float
    """Weight of the mean level of the source tokens, so that rare words and single bytes lower the confidence."""
    source_levels: str
    """A letter for each token: how often it is in text of the source language. See `count_levels`."""
    target_levels: str
    """The same for text of the target language, encoded as a source."""

    def confidence(self, source: Sequence[int], tokens: Sequence[int], log_prob: float) -> float:
        """Return the expected chrF2 of a translation, divided by 100: from 0 to 1."""
        per_token, level = features(self.source_levels, source, tokens, log_prob)
        logit = self.bias + self.log_prob * per_token + self.frequency * level
        return round(1 / (1 + math.exp(-max(-30.0, min(30.0, logit)))), 3)

    def is_target_language(self, source: Sequence[int]) -> bool:
        """Return True if the tokens of `common_words` of a line are surely those of the target language."""
        return len(source) >= MIN_TOKENS and self.target_bits(source) >= max(MIN_BITS, MIN_BITS_PER_TOKEN * len(source))

    def target_bits(self, source: Sequence[int]) -> int:
        """Return by how many bits the tokens are likelier in the target language than in the source language."""
        return sum(ord(self.target_levels[token]) - ord(self.source_levels[token]) for token in source)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the field of `config.json`."""
        return asdict(self)


def common_words(line: str) -> str:
    """Return the words of a line that consist of letters and begin with a small one: no names, numbers or code."""
    words = (word.strip(".,;:!?\"'()„“”") for word in line.split())
    return " ".join(word for word in words if word.isalpha() and word[0].islower())


def features(levels: str, source: Sequence[int], tokens: Sequence[int], log_prob: float) -> tuple[float, float]:
    """Return the log-probability per token of the translation, and the mean level of the source tokens."""
    level = sum(ord(levels[token]) - _ZERO for token in source)
    return log_prob / max(1, len(tokens)), level / max(1, len(source))


def count_levels(encoded: Iterable[Sequence[int]], vocab_size: int) -> str:
    """Return a letter for each token: "a" if it is less than twice per million of the tokens, "b" if less than four
    times, and so on. Half an occurrence is added to each token.
    """
    counts = [0.5] * vocab_size
    for ids in encoded:
        for token in ids:
            counts[token] += 1
    total = sum(counts)
    return "".join(chr(_ZERO + max(0, int(math.log2(count / total * 1e6)))) for count in counts)


def read_calibration(folder: Path, vocab_size: int) -> Calibration | None:
    """Return the calibration of a model folder; None if it has none. Raises InputError if it is damaged."""
    saved = read_about(folder).get(FIELD)
    if saved is None:
        return None
    try:
        found = Calibration(**saved)
        numbers = [float(number) for number in (found.bias, found.log_prob, found.frequency)]
        valid = all(map(math.isfinite, numbers)) and len(found.source_levels) == len(found.target_levels) == vocab_size
        valid = valid and (found.source_levels + found.target_levels).isascii()
    except (TypeError, ValueError, AttributeError):
        valid = False
    if not valid:
        raise InputError(
            f"{folder / 'config.json'}: {FIELD} is damaged or belongs to another model. "
            "Remove the field, and run python -m evaluate.calibrate for a new one."
        )
    return found


def foreign_note(numbers: list[int], target_lang: str) -> str | None:
    """Return a note about the lines with these numbers, which are in the target language; None if there are none."""
    if not numbers:
        return None
    verb = "are" if len(numbers) > 1 else "is"
    return f"{name_lines(numbers)} {verb} probably in the language of the translation already ({target_lang})"


def lost_note(numbers: list[int]) -> str | None:
    """Return a note about the lines with these numbers, of which a translation lacks characters; None if none."""
    if not numbers:
        return None
    verb = "have" if len(numbers) > 1 else "has"
    return (
        f"{name_lines(numbers)} {verb} characters that the vocabulary contains as bytes only, and that are missing in "
        "the translation"
    )
