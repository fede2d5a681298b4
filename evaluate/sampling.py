"""Choosing the next token at random: temperature, top-k and top-p, each a pure function of logits_NV.

A token that a filter removes gets the logit -inf. `sample` applies temperature, then top-k, then top-p.
"""

import torch
from torch import Tensor


def with_temperature(logits_NV: Tensor, temperature: float) -> Tensor:
    """Logits of softmax(logits / temperature): below 1 sharper, above 1 flatter. Raises ValueError unless > 0."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a number above 0, not {temperature}")
    # Shifted so that the best is 0: a tiny temperature then gives -inf to the others, not +inf to many.
    return (logits_NV - logits_NV.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits_NV: Tensor, k: int) -> Tensor:
    """Keep each row's k most likely tokens, exactly k even among equals. Raises ValueError for k < 1."""
    if k < 1:
        raise ValueError(f"top_k must be at least 1, not {k}")
    values, index = logits_NV.topk(min(k, logits_NV.shape[-1]))
    return torch.full_like(logits_NV, float("-inf")).scatter(-1, index, values)


def keep_top_p(logits_NV: Tensor, p: float) -> Tensor:
    """Keep each row's smallest set of most likely tokens whose probabilities add up to at least p, never none.

    Nucleus sampling (Holtzman et al. 2020). Raises ValueError unless 0 < p <= 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {p}")
    if p == 1:  # rounding of the running sum must not drop the tail
        return logits_NV
    values, index = logits_NV.sort(dim=-1, descending=True, stable=True)
    probs = values.softmax(dim=-1)
    mass_before = probs.cumsum(dim=-1) - probs
    needed = mass_before < p
    needed[..., 0] = True
    return torch.full_like(logits_NV, float("-inf")).scatter(-1, index, values.masked_fill(~needed, float("-inf")))


def sample(
    logits_NV: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    uniform_N: Tensor | None = None,
) -> Tensor:
    """Draw one token per row: tokens_N (int64). Temperature 0 is greedy: the most likely token.

    What decides is `generator`, which must live on the device of the logits, or `uniform_N`: for each row a number
    in [0, 1), which picks its token whatever the other rows are. Probabilities are computed in fp32 (float64
    for float64 logits). Raises ValueError for settings out of range.
    """
    if logits_NV.dtype != torch.float64:
        logits_NV = logits_NV.float()
    greedy = temperature == 0
    if not greedy:
        logits_NV = with_temperature(logits_NV, temperature)
    if top_k is not None:
        logits_NV = keep_top_k(logits_NV, top_k)
    if top_p is not None:
        logits_NV = keep_top_p(logits_NV, top_p)
    if greedy:
        return logits_NV.argmax(dim=-1)
    probs_NV = logits_NV.softmax(dim=-1)
    if uniform_N is not None:
        return pick(probs_NV, uniform_N)
    return torch.multinomial(probs_NV, num_samples=1, generator=generator).squeeze(-1)


def pick(probs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The token in whose share of [0, 1) the row's number falls, the shares laid side by side: tokens_N (int64)."""
    # In fp32 the running sum of a large vocabulary would leave no room for its rare tokens. MPS has no float64.
    dtype = torch.float32 if probs_NV.device.type == "mps" else torch.float64
    ends_NV = probs_NV.cumsum(dim=-1, dtype=dtype)
    point_N1 = uniform_N.to(ends_NV).unsqueeze(-1) * ends_NV[:, -1:]  # the sum is 1 only up to rounding
    return torch.searchsorted(ends_NV, point_N1, right=True).squeeze(-1).clamp(max=probs_NV.size(-1) - 1)
