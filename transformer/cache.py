"""The state of decoding one token at a time: keys and values of the tokens so far, in memory allocated once.

Training uses no cache, and a cache has no gradient. The state is an explicit object, so a model has no state of its
own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class KVCache:
    """Keys and values of one self-attention for the tokens so far, (N, H, max_len, K) each."""

    def __init__(self, n: int, kv_heads: int, max_len: int, head_size: int, value_size: int, like: Tensor) -> None:
        """Allocate `n` rows of `max_len` positions, with the dtype and the device of `like`."""
        self.k_NHMK = like.new_empty(n, kv_heads, max_len, head_size)
        self.v_NHMK = like.new_empty(n, kv_heads, max_len, value_size)
        self.length = 0

    @torch.no_grad()
    def append(self, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        """Add L positions. Return keys and values of all positions so far."""
        end = self.length + k_NHLK.size(2)
        assert end <= self.k_NHMK.size(2), f"cache of {self.k_NHMK.size(2)} positions is full"
        self.k_NHMK[:, :, self.length : end] = k_NHLK
        self.v_NHMK[:, :, self.length : end] = v_NHLK
        self.length = end
        return self.k_NHMK[:, :, :end], self.v_NHMK[:, :, :end]

    def reorder(self, index_N: Tensor, spare_NHMK: Tensor | None) -> Tensor:
        """Set row i to the old row index_N[i]. Copies only the positions in use.

        Copies into `spare_NHMK` if it has enough rows of the right size. Returns the buffer that is no longer used, as
        the next spare.
        """
        k_NHMK, v_NHMK = self.k_NHMK, self.v_NHMK
        self.k_NHMK = _take_rows(k_NHMK, index_N, self.length, spare_NHMK)
        self.v_NHMK = _take_rows(v_NHMK, index_N, self.length, k_NHMK)
        return v_NHMK


@dataclass
class Memory:
    """Keys and values of one cross-attention, (B, H, M, K) each, computed once from the encoder's output.

    The hypotheses of a sentence share one row: of N hypotheses, those from b * N / B on belong to row b.
    """

    k_BHMK: Tensor
    v_BHMK: Tensor

    def select(self, index_B: Tensor) -> None:
        """Set row i to the old row index_B[i]."""
        self.k_BHMK = self.k_BHMK.index_select(0, index_B)
        self.v_BHMK = self.v_BHMK.index_select(0, index_B)


@dataclass
class DecodingState:
    """Everything that a model's `step` needs in addition to the next tokens."""

    caches: Sequence[KVCache]
    """One cache per block, with one row per hypothesis."""
    memories: Sequence[Memory | None]
    """One memory per block; None if the model has no encoder."""
    memory_bias_BG1M: Tensor | None
    """0 where the source has a token, else -inf; same rows and heads as the memories."""
    spare_NHMK: Tensor | None = None
    """Spare buffer for the next cache that is reordered: allocating memory would cost more than the copy."""

    @property
    def length(self) -> int:
        """Number of tokens processed so far."""
        return self.caches[0].length

    @torch.no_grad()
    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Set row i to the old row index_N[i]. Rows may repeat, and their number may change.

        Args:
            same_sentences: the number of rows stays, and every row keeps its sentence. Then the memories do not
                change, and the host does not have to wait for the values of index_N.
        """
        if self.memory_bias_BG1M is not None and not same_sentences:
            hypotheses = self.caches[0].k_NHMK.size(0) // self.memory_bias_BG1M.size(0)  # per sentence
            index_B = _one_per_sentence(index_N // hypotheses)
            self.memory_bias_BG1M = self.memory_bias_BG1M.index_select(0, index_B)
            for memory in self.memories:
                if memory is not None:
                    memory.select(index_B)
        for cache in self.caches:
            self.spare_NHMK = cache.reorder(index_N, self.spare_NHMK)


def _one_per_sentence(sentence_N: Tensor) -> Tensor:
    """Return each run of equal numbers once if all runs have the same length, so that rows can be shared. Otherwise
    return all numbers."""
    sentence_B, run_B = torch.unique_consecutive(sentence_N, return_counts=True)
    return sentence_B if len(run_B.unique()) == 1 else sentence_N


def _take_rows(x_NHMK: Tensor, index_N: Tensor, length: int, spare_NHMK: Tensor | None) -> Tensor:
    n = index_N.numel()
    if spare_NHMK is None or spare_NHMK.size(0) < n or spare_NHMK.size(3) != x_NHMK.size(3):
        spare_NHMK = x_NHMK.new_empty(n, *x_NHMK.shape[1:])
    torch.index_select(x_NHMK[:, :, :length], 0, index_N, out=spare_NHMK[:n, :, :length])
    return spare_NHMK[:n]
