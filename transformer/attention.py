"""Section 3.2: multi-head attention.

Letters of the shapes: B batch, L queries, M keys and values (memory), D d_model, H heads, K size of a head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from transformer.cache import KVCache, Memory
from transformer.config import ModelConfig
from transformer.layers import RotaryPositions


class MultiHeadAttention(nn.Module):
    """Section 3.2.2: h attention heads in parallel, each with its own projection of queries, keys and values.

    The projections W_i^Q of all heads are stacked in one matrix, so one matrix product computes all heads. Eq. 1
    is PyTorch's `scaled_dot_product_attention`, which avoids storing the L x M weights if it can.
    `rotary` rotates queries and keys by their positions. It is for self-attention only.
    """

    def __init__(self, config: ModelConfig, *, rotary: bool = False) -> None:
        super().__init__()
        self.head_size, self.value_size = config.head_size, config.value_size
        self.heads, self.kv_heads = config.n_heads, config.kv_heads
        self.stacked: nn.Module | None = None
        self.query = nn.Linear(config.d_model, config.n_heads * config.head_size)
        self.key = nn.Linear(config.d_model, config.kv_heads * config.head_size)
        self.value = nn.Linear(config.d_model, config.kv_heads * config.value_size)
        self.out = nn.Linear(config.n_heads * config.value_size, config.d_model)
        # Differs from the paper: grouped-query attention, Ainslie et al. (2023)
        self.grouped = config.kv_heads < config.n_heads
        self.rotary = RotaryPositions(config) if rotary else None  # Differs from the paper: Su et al. (2021)
        self.dropout = config.attention_dropout  # Differs from the paper: tensor2tensor's transformer_base

    def forward(
        self,
        x_BLD: Tensor,
        memory_BMD: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Attend from x to the memory (section 3.2.3), or to x itself if the memory is None. Return (B, L, D).

        Args:
            x_BLD: source of the queries.
            memory_BMD: source of keys and values: the encoder's output.
            mask: boolean, broadcastable to (B, H, L, M); True means "may attend". Every row needs one True,
                because the softmax over no positions is undefined.
            causal: position i attends only to positions up to i.
            cache: keys and values of the positions before those of x; those of x are appended.
        """
        if memory_BMD is None and (self.training or self.stacked is not None):
            q_BHLK, k_BHMK, v_BHMK = self._project_at_once(x_BLD)
        else:
            k_BHMK, v_BHMK = self.project(x_BLD if memory_BMD is None else memory_BMD)
            q_BHLK = _heads(self.query(x_BLD), self.head_size)
        if self.rotary is not None:
            q_BHLK, k_BHMK = self.rotary(q_BHLK, k_BHMK, start=0 if cache is None else cache.length)
        if cache is not None:
            k_BHMK, v_BHMK = cache.append(k_BHMK, v_BHMK)
            if causal and cache.length > q_BHLK.size(2):  # `is_causal` counts the queries from position 0
                mask, causal = _causal_mask(q_BHLK.size(2), cache.length, x_BLD.device), False
        # Eq. 1: softmax(Q K^T / sqrt(d_k)) V, for all heads.
        if self.training and x_BLD.is_cpu and q_BHLK.dtype == torch.bfloat16:
            # On a CPU, PyTorch's kernel for bf16 takes 1.6 to 6 times as long for sentences as its kernel for fp32.
            with torch.autocast("cpu", enabled=False):
                a_BHLK = self._attend(q_BHLK.float(), k_BHMK.float(), v_BHMK.float(), mask, causal).bfloat16()
        else:
            a_BHLK = self._attend(q_BHLK, k_BHMK, v_BHMK, mask, causal)
        return self.out(a_BHLK.transpose(1, 2).flatten(2))  # Concat(head_1, ..., head_h) W^O

    def step(self, x_ND: Tensor, cache: KVCache) -> Tensor:
        """Attend from one new token per row to the tokens in the cache and to itself. Equals `forward` in eval mode."""
        if self.stacked is None:
            q_NH1K, k_NH1K = (_one_query(layer.forward(x_ND), self.head_size) for layer in (self.query, self.key))
            v_NH1K = _one_query(self.value.forward(x_ND), self.value_size)
        else:
            heads = (self.heads, self.kv_heads, self.kv_heads)
            q_NH1K, k_NH1K, v_NH1K = _one_query(self.stacked.forward(x_ND), self.head_size).split_with_sizes(heads, 1)
        if self.rotary is not None:
            q_NH1K, k_NH1K = self.rotary.forward(q_NH1K, k_NH1K, start=cache.length)
        k_NHMK, v_NHMK = cache.append(k_NH1K, v_NH1K)
        return self.out.forward(_attend_in_step(q_NH1K, k_NHMK, v_NHMK, None))

    def step_to_memory(self, x_ND: Tensor, memory: Memory, bias_BG1M: Tensor) -> Tensor:
        """Attend from one token per row to the encoder's output. Equals `forward` in eval mode.

        Args:
            memory: may have fewer rows than x, as in beam search: the hypotheses of a sentence, which are consecutive
                rows of x, then share one row of the memory.
            bias_BG1M: 0 where the memory has a token, else -inf.
        """
        q_NH1K = _one_query(self.query.forward(x_ND), self.head_size)
        return self.out.forward(_attend_in_step(q_NH1K, memory.k_BHMK, memory.v_BHMK, bias_BG1M))

    def weights(
        self, x_BLD: Tensor, memory_BMD: Tensor | None = None, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Return softmax(Q K^T / sqrt(d_k)) of Eq. 1, (B, H, L, M), for inspection. `forward` does not compute it.

        The arguments are those of `forward`, without a cache.
        """
        q_BHLK = _heads(self.query(x_BLD), self.head_size)
        k_BHMK = _heads(self.key(x_BLD if memory_BMD is None else memory_BMD), self.head_size)
        if self.rotary is not None:
            q_BHLK, k_BHMK = self.rotary(q_BHLK, k_BHMK)
        k_BHMK = k_BHMK.repeat_interleave(q_BHLK.size(1) // k_BHMK.size(1), dim=1)
        scores_BHLM = q_BHLK @ k_BHMK.transpose(-2, -1) / math.sqrt(self.head_size)
        if mask is not None:
            scores_BHLM = scores_BHLM.masked_fill(~mask, -math.inf)
        if causal:
            scores_BHLM = scores_BHLM.masked_fill(~torch.ones_like(scores_BHLM, dtype=torch.bool).tril(), -math.inf)
        return scores_BHLM.softmax(dim=-1)

    def project(self, memory_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values, (B, H, M, K) each; H is the number of key-value heads."""
        return _heads(self.key(memory_BMD), self.head_size), _heads(self.value(memory_BMD), self.value_size)

    def _attend(self, q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Return Eq. 1 for all heads, with dropout on the attention weights in training."""
        return scaled_dot_product_attention(
            q_BHLK,
            k_BHMK,
            v_BHMK,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            enable_gqa=self.grouped,
        )

    def stack(self) -> None:
        """Replace the projections of queries, keys and values by one layer, if their heads have one size.

        For self-attention and inference only.
        """
        layers = (self.query, self.key, self.value)
        quantised = not all(isinstance(layer, nn.Linear) for layer in layers)
        if quantised or self.value_size != self.head_size:
            return
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self.stacked = nn.Linear(weight.size(1), weight.size(0), device="meta")
        self.stacked.weight = nn.Parameter(weight)
        self.stacked.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))
        del self.query, self.key, self.value

    def _project_at_once(self, x_BLD: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values from one matrix product, which is faster than three for many tokens."""
        if self.stacked is not None:
            projected = self.stacked(x_BLD)
        else:
            layers = (self.query, self.key, self.value)
            weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
            projected = linear(x_BLD, weight, bias)
        heads = (self.heads, self.kv_heads, self.kv_heads)
        sizes = (self.head_size, self.head_size, self.value_size)
        parts = projected.split([n * size for n, size in zip(heads, sizes, strict=True)], dim=-1)
        return tuple(_heads(part, size) for part, size in zip(parts, sizes, strict=True))


def _heads(x_BLD: Tensor, size: int) -> Tensor:
    """Return (B, H, L, K) for K = size."""
    return x_BLD.unflatten(-1, (-1, size)).transpose(1, 2)


def _one_query(x_ND: Tensor, size: int) -> Tensor:
    """Return (N, H, 1, K) for K = size."""
    return x_ND.view(x_ND.size(0), -1, 1, size)


def _attend_in_step(q_NH1K: Tensor, k_BGMK: Tensor, v_BGMK: Tensor, bias_BG1M: Tensor | None) -> Tensor:
    """Return Eq. 1 for one query per row, (N, H * size of a value). Not for training.

    Rows that share keys and values, and heads that share a key-value head (G of them), become Q queries of that head.

    Args:
        bias_BG1M: is added to the products; 0 means "may attend", -inf that it may not.
    """
    (N, H, _, K), (B, G, _, _) = q_NH1K.shape, k_BGMK.shape
    if N == B:
        return _few_queries(q_NH1K.reshape(B * G, -1, K), k_BGMK, v_BGMK, bias_BG1M).view(N, -1)
    q_BGWRK = q_NH1K.view(B, N // B, G, H // G, K).transpose(1, 2)
    a_XQK = _few_queries(q_BGWRK.reshape(B * G, -1, K), k_BGMK, v_BGMK, bias_BG1M)
    return a_XQK.view(*q_BGWRK.shape[:-1], -1).transpose(1, 2).reshape(N, -1)


def _few_queries(q_XQK: Tensor, k_BGMK: Tensor, v_BGMK: Tensor, bias_BG1M: Tensor | None) -> Tensor:
    """Return Eq. 1 for the X = B * G heads.

    On a CPU, two batched products are up to five times as fast as `scaled_dot_product_attention` here, whose blocks
    are made for many queries.
    """
    (X, Q, K), (B, G, M, _) = q_XQK.shape, k_BGMK.shape
    if not q_XQK.is_cpu:
        mask_B11M = None if bias_BG1M is None else bias_BG1M[:, :1]
        a_BGQK = scaled_dot_product_attention(q_XQK.view(B, G, Q, K), k_BGMK, v_BGMK, attn_mask=mask_B11M)
        return a_BGQK.reshape(X, Q, -1)
    k_XKM, v_XMK = k_BGMK.view(X, M, K).transpose(1, 2), v_BGMK.view(X, M, -1)
    if bias_BG1M is None:
        scores_XQM = torch.baddbmm(q_XQK.new_empty(1), q_XQK, k_XKM, beta=0, alpha=K**-0.5)
    else:
        scores_XQM = torch.baddbmm(bias_BG1M.view(X, 1, M), q_XQK, k_XKM, alpha=K**-0.5)
    return torch.bmm(scores_XQM.softmax(-1), v_XMK)


def _causal_mask(new: int, total: int, device: torch.device) -> Tensor | None:
    """Return the mask for `new` queries that are the last of `total` positions. None: one query may attend to all."""
    if new == 1:
        return None
    return torch.ones(new, total, dtype=torch.bool, device=device).tril(diagonal=total - new)
