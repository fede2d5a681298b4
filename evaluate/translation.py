"""A translation of a line, with its scores."""

from dataclasses import dataclass

from common.errors import InputError


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
    first. Protected spans are not among them: those of words are stand-ins (`evaluate.segmentation.protection`)."""
    confidence: float | None = None
    """Expected chrF2 of the translation, divided by 100: from 0 to 1. For a line of several sentences, that of the
    worst. None for a line that is not translated, or if the model has no calibration (`evaluate.confidence`)."""


EMPTY = Translation("", 0.0, 0.0, ())


class LineTooLong(InputError):
    """A line has more tokens than the model supports. `index` is its index in the given lines, from 0."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index
