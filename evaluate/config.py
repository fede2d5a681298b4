"""How sentences are decoded."""

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
