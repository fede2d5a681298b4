"""Settings of decoding: beam search and sampling."""

from dataclasses import dataclass
from typing import Literal

from common.errors import InputError
from common.settings import check_at_most

LengthPenalty = Literal["gnmt", "length", "none"]
BackendName = Literal["torch", "ctranslate2"]
Feature = Literal["prefix", "sampling", "token scores", "attention", "glossary", "trees"]
"""What a backend may support in addition to search."""
EnsembleMean = Literal["log-probabilities", "probabilities"]
"""What the models of an ensemble average; `mean_log_probs` says how."""
MAX_BEAM = 1000
"""Largest beam: its cost grows with the beam, and beams above 100 are used in experiments only."""
MAX_ALPHA = 10
"""Largest exponent of the length penalty. For usual lengths, larger ones have no effect or overflow."""
MAX_BATCH_TOKENS = 10_000_000
MAX_SAMPLES = 10_000
MAX_NEW_TOKENS = 100_000_000
FORMULAS: dict[str, str] = {"gnmt": "((5 + n) / 6)^alpha", "length": "n^alpha", "none": "1"}


@dataclass(frozen=True)
class DecodeConfig:
    """Section 6.1: beam search with GNMT's length penalty. Raises InputError for a setting out of range.

    Lengths are numbers of tokens, EOS included.
    """

    beam: int = 4
    """Number of hypotheses kept per sentence (section 6.1), at most 1,000; 1 is greedy search."""
    alpha: float = 0.6
    """Exponent of the length penalty (section 6.1), at most 10. Hypotheses are ranked by log P(y|x) divided by the
    length penalty."""
    length_penalty: LengthPenalty = "gnmt"
    """Length penalty of n tokens. `gnmt`: ((5 + n) / 6)^alpha, the paper's (section 6.1). `length`: n^alpha, that of
    fairseq, Marian, CTranslate2 and transformers, which ranks differently at the same alpha. `none`: 1, for every
    alpha."""
    min_length: int = 1
    """Smallest number of tokens in an output. It has priority over `max_extra`."""
    max_length: int | None = None
    """Largest number of tokens in an output; None is the limit of the model, `model.max_len`."""
    max_extra: int = 50
    """Largest number of tokens that an output has more than its source (section 6.1). The limit of the model applies
    too."""
    batch_tokens: int = 32768
    """Size of a batch, which limits its memory: number of hypotheses times the tokens of the longest source and of the
    longest possible output. A sentence that needs more is a batch of its own."""
    split_sentences: bool = True
    """Translate the sentences of a line one by one: models that are trained on single sentences often lose the second
    one. False translates the line as a whole, unless it is too long for the model."""
    translate_symbols: bool = False
    """Translate text without a letter, such as "-" or "42". False copies it: a model writes words of its own for it."""

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
        if not 0 <= self.alpha <= MAX_ALPHA:
            raise InputError(f"decode.alpha is {self.alpha}; it must be from 0 to {MAX_ALPHA}")
        if self.max_extra < 0:
            raise InputError(f"decode.max_extra is {self.max_extra}; it must be 0 or more")
        check_at_most("decode", self, beam=MAX_BEAM, batch_tokens=MAX_BATCH_TOKENS)

    @property
    def penalty_formula(self) -> str:
        """Formula of the length penalty. Outputs that contain alpha contain the formula too."""
        return FORMULAS[self.length_penalty]


@dataclass(frozen=True)
class SampleConfig:
    """Sampling of a GPT's continuations or of translations. Raises InputError for a setting out of range."""

    temperature: float = 1.0
    """Divisor of the logits. Lower values give likelier text, higher values more varied text. 0, and any value below
    1e-5, takes the most likely token."""
    top_k: int | None = None
    """Sample from the k most likely tokens only; None keeps all."""
    top_p: float | None = None
    """Sample from the smallest set of most likely tokens whose probabilities add up to p (Holtzman et al. 2020); None
    keeps all. `top_k` is applied first."""
    seed: int = 1
    """Random seed. The samples of a prompt depend on the seed and the prompt, not on other prompts."""
    num_samples: int = 1
    """Number of samples of each prompt or sentence, drawn independently of one another; at most 10,000."""
    max_tokens: int = 500
    """Largest number of tokens in a continuation. It is shorter if the model ends the document. The lengths of
    translations are limited by `DecodeConfig` instead."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}; it must be at least 1. Omit it to keep all tokens.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1. Omit it to keep all tokens.")
        for name in ("num_samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        check_at_most("", self, num_samples=MAX_SAMPLES, max_tokens=MAX_NEW_TOKENS)
