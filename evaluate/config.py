"""How sentences are decoded, and how text is continued."""

from dataclasses import dataclass
from typing import Literal

from common.errors import InputError

LengthPenalty = Literal["gnmt", "length", "none"]
FORMULAS: dict[str, str] = {"gnmt": "((5 + n) / 6)^alpha", "length": "n^alpha", "none": "1"}


@dataclass(frozen=True)
class DecodeConfig:
    """Section 6.1: beam search with GNMT's length penalty. Raises ValueError for a setting out of range.

    Lengths count the tokens of an output with its EOS.
    """

    beam: int = 4
    """Hypotheses kept per sentence; 1 is greedy search."""
    alpha: float = 0.6
    """Hypotheses are ranked by log P(y|x) divided by the length penalty, of which alpha is the exponent."""
    length_penalty: LengthPenalty = "gnmt"
    """`gnmt`: ((5 + n) / 6)^alpha for n tokens, the paper's. `length`: n^alpha, that of fairseq, Marian, CTranslate2
    and transformers, which ranks differently at the same alpha. `none`: 1, whatever alpha is."""
    min_length: int = 1
    """An output has at least so many tokens; this overrules `max_extra`."""
    max_length: int | None = None
    """An output has at most so many tokens; None is as many as the model takes."""
    max_extra: int = 50
    """An output has at most this many tokens more than its source, and never more than the model takes."""
    batch_tokens: int = 32768
    """Bounds the memory of a batch: the sum, over its hypotheses, of the tokens of the padded source and of the
    longest output that is allowed. A sentence that needs more goes alone."""

    def __post_init__(self) -> None:
        for name in ("beam", "batch_tokens", "min_length"):
            if getattr(self, name) < 1:
                raise InputError(f"decode.{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_length is not None and self.max_length < self.min_length:
            raise InputError(
                f"decode.max_length is {self.max_length}; it must be at least decode.min_length, {self.min_length}"
            )
        if self.length_penalty not in FORMULAS:
            raise InputError(
                f"decode.length_penalty is {self.length_penalty!r}; it must be one of {', '.join(FORMULAS)}"
            )
        if not 0 <= self.alpha < float("inf"):
            raise InputError(f"decode.alpha is {self.alpha}; it must be 0 or more")
        if self.max_extra < 0:
            raise InputError(f"decode.max_extra is {self.max_extra}; it must be 0 or more")

    @property
    def penalty_formula(self) -> str:
        """By what log P(y|x) is divided, to be shown wherever alpha is."""
        return FORMULAS[self.length_penalty]


@dataclass(frozen=True)
class SampleConfig:
    """How a GPT continues a prompt, or a translation is drawn. Raises ValueError for a setting out of range."""

    temperature: float = 1.0
    """The model's logits are divided by it: below 1 surer, above 1 more varied; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Draw among the k likeliest tokens only; None keeps all."""
    top_p: float | None = None
    """Draw among the fewest likeliest tokens whose probabilities add up to p (Holtzman et al. 2020); None keeps
    all. Of what `top_k` left."""
    seed: int = 1
    """The same seed gives a prompt the same samples, whatever it is generated together with."""
    num_samples: int = 1
    """Continuations of each prompt, drawn independently of one another."""
    max_tokens: int = 500
    """A continuation ends after so many tokens, or where the model ends the document. Translations have the limits
    of `DecodeConfig` instead."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}; it must be at least 1: leave it out to keep all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p is {self.top_p}; it must be above 0 and at most 1: leave it out to keep all tokens"
            )
        for name in ("num_samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
