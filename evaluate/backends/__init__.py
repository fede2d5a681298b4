"""Backends of the translator, PyTorch and CTranslate2: a batch of source ids to hypotheses."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from data_pipeline.tokenizers.sentence_piece import BOS_ID, PAD_ID, UNK_ID
from evaluate.config import BackendName, DecodeConfig, Feature, SampleConfig
from evaluate.decoding.search import Hypothesis
from evaluate.decoding.terms import WordEnds
from evaluate.decoding.trees import TreeTokens
from evaluate.length_batches import IdPair

FORBIDDEN = (PAD_ID, UNK_ID, BOS_ID)
"""Tokens that no hypothesis contains."""


class Backend(Protocol):
    """A loaded translation model. Sentences of a batch influence one another by rounding only.

    Each item of a batch has a source with EOS; `limits` are the largest numbers of output tokens, EOS included.
    """

    name: ClassVar[BackendName]
    supports: ClassVar[frozenset[Feature]]
    """What the backend can do besides search. Callers must not use another feature."""

    @property
    def max_len(self) -> int:
        """Largest number of tokens in a source and in an output."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""

    @property
    def compute_type(self) -> str:
        """Number format of the model's computations, such as float32."""

    def search(
        self,
        batch: list[IdPair],
        limits: list[int],
        config: DecodeConfig,
        n_best: int,
        vocabulary: WordEnds | TreeTokens | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each source, best first, at least `n_best` of them if so many are found.

        `prefix`: a hypothesis begins with the target of its pair. `glossary`: it contains the terms of its pair, which
        need `WordEnds`. `trees`: it is a tree with the leaves of its pair, which needs `TreeTokens`.
        """

    def sample(
        self, batch: list[IdPair], limits: list[int], config: DecodeConfig, sampling: SampleConfig
    ) -> list[list[Hypothesis]]:
        """`sampling`: return `sampling.num_samples` random hypotheses of each source, in the order of drawing."""

    def token_log_probs(self, batch: list[IdPair]) -> list[Sequence[float]]:
        """`token scores`: return the natural log-probability of each token of each target."""

    def cross_attention(self, batch: list[IdPair]) -> list[Tensor]:
        """`attention`: return the weights (layers, heads, target tokens, source tokens) of each pair, on the CPU."""
