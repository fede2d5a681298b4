"""How sentences are decoded, and how text is continued."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeConfig:
    """Section 6.1: beam search with GNMT's length penalty. Raises ValueError for a setting out of range."""

    beam: int = 4
    """Hypotheses kept per sentence; 1 is greedy search."""
    alpha: float = 0.6
    """Hypotheses are ranked by log P(y|x) / ((5 + n) / 6)^alpha, n tokens with EOS. Other programs divide by
    n^alpha and rank differently at the same alpha."""
    max_extra: int = 50
    """An output has at most this many tokens more than its source, and never more than the model takes."""
    batch_tokens: int = 32768
    """Bounds the memory of a batch: the sum, over its hypotheses, of the tokens of the padded source and of the
    longest output that is allowed. A sentence that needs more goes alone."""

    def __post_init__(self) -> None:
        for name in ("beam", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"decode.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"decode.alpha is {self.alpha}; it must be 0 or more")
        if self.max_extra < 0:
            raise ValueError(f"decode.max_extra is {self.max_extra}; it must be 0 or more")


@dataclass(frozen=True)
class SampleConfig:
    """How a GPT continues a prompt. Raises ValueError for a setting out of range."""

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
    """A continuation ends after so many tokens, or where the model ends the document."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be at least 1: leave it out to keep all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p is {self.top_p}; it must be above 0 and at most 1: leave it out to keep all tokens"
            )
        for name in ("num_samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
