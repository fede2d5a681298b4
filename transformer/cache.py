"""What decoding one token at a time must remember: keys and values, in memory taken once.

Training passes no cache, and what is in one has no gradient. A cache is an explicit object, so a model holds no state
of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class KVCache:
    """Keys and values of one self-attention for the tokens so far, (N, H, max_len, K) each."""

    def __init__(self, n: int, kv_heads: int, max_len: int, head_size: int, like: Tensor) -> None:
        self.k_NHMK = like.new_empty(n, kv_heads, max_len, head_size)
        self.v_NHMK = torch.empty_like(self.k_NHMK)
        self.length = 0

    @torch.no_grad()
    def append(self, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        """Add L positions and return keys and values of all positions so far."""
        end = self.length + k_NHLK.size(2)
        assert end <= self.k_NHMK.size(2), f"cache of {self.k_NHMK.size(2)} positions is full"
        self.k_NHMK[:, :, self.length : end] = k_NHLK
        self.v_NHMK[:, :, self.length : end] = v_NHLK
        self.length = end
        return self.k_NHMK[:, :, :end], self.v_NHMK[:, :, :end]

    def reorder(self, index_N: Tensor, room_NHMK: Tensor | None) -> Tensor:
        """Row i becomes the old row index_N[i]; only the positions in use are copied.

        They go to `room_NHMK` where that is large enough; returns the memory that became free, room for the next.
        """
        k_NHMK, v_NHMK = self.k_NHMK, self.v_NHMK
        self.k_NHMK = _take_rows(k_NHMK, index_N, self.length, room_NHMK)
        self.v_NHMK = _take_rows(v_NHMK, index_N, self.length, k_NHMK)
        return v_NHMK


@dataclass
class Memory:
    """Keys and values of one cross-attention, (B, H, M, K) each: computed once from the encoder's output.

    The hypotheses of a sentence share its row: with N hypotheses, row b belongs to those from b·N/B on.
    """

    k_BHMK: Tensor
    v_BHMK: Tensor

    def select(self, index_B: Tensor) -> None:
        """Row i becomes the old row index_B[i]."""
        self.k_BHMK = self.k_BHMK.index_select(0, index_B)
        self.v_BHMK = self.v_BHMK.index_select(0, index_B)


@dataclass
class DecodingState:
    """All that a model's `step` needs beside the next tokens."""

    caches: Sequence[KVCache]
    """One per block; one row per hypothesis."""
    memories: Sequence[Memory | None]
    """One per block; None where there is no encoder."""
    memory_mask_BM: Tensor | None
    """True where the source has a token; rows as in the memories."""
    room_NHMK: Tensor | None = None
    """Memory that no cache uses, for the next one that is reordered: taking new memory costs more than the copy."""

    @property
    def length(self) -> int:
        """Tokens fed so far."""
        return self.caches[0].length

    @torch.no_grad()
    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Row i becomes the old row index_N[i]; rows may repeat, and there may be more or fewer than before.

        `same_sentences` promises that there are as many rows as before and that none changes its sentence: the
        memories then stay where they are, without a look at index_N, for which the host would wait.
        """
        if self.memory_mask_BM is not None and not same_sentences:
            hypotheses = self.caches[0].k_NHMK.size(0) // self.memory_mask_BM.size(0)  # of one sentence
            index_B = _one_per_sentence(index_N // hypotheses)
            self.memory_mask_BM = self.memory_mask_BM.index_select(0, index_B)
            for memory in self.memories:
                if memory is not None:
                    memory.select(index_B)
        for cache in self.caches:
            self.room_NHMK = cache.reorder(index_N, self.room_NHMK)


def _one_per_sentence(sentence_N: Tensor) -> Tensor:
    """Each run of equal numbers once where all runs are of one length, so that rows can share; else all of them."""
    sentence_B, run_B = torch.unique_consecutive(sentence_N, return_counts=True)
    return sentence_B if len(run_B.unique()) == 1 else sentence_N


def _take_rows(x_NHMK: Tensor, index_N: Tensor, length: int, room_NHMK: Tensor | None) -> Tensor:
    n = index_N.numel()
    if room_NHMK is None or room_NHMK.size(0) < n:
        room_NHMK = x_NHMK.new_empty(n, *x_NHMK.shape[1:])
    torch.index_select(x_NHMK[:, :, :length], 0, index_N, out=room_NHMK[:n, :, :length])
    return room_NHMK[:n]
