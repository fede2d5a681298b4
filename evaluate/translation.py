"""A translation of a line, with its scores."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    """The translated text; "" for an empty line. A line that is not translated, because it has no letter, is copied."""
    score: float
    """`log_prob` divided by the length penalty of `DecodeConfig`. Translations are ranked by it."""
    log_prob: float
    """Natural log of the model's probability of `tokens`."""
    tokens: tuple[int, ...]
    """Token ids; () for a line that is not translated. The last one is EOS unless the output reached its largest length
    first."""


EMPTY = Translation("", 0.0, 0.0, ())
