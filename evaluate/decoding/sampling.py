"""Sample the next token: temperature, top-k and top-p, each a pure function of logits_NV.

A filter gives the logit -inf to the tokens that it removes. `sample` applies temperature, then top-k, then top-p.
`sample_outputs` samples complete outputs. It uses a decoder in the same way as beam search.

Shapes: N rows of the decoder, R rows that are not finished, T tokens, V vocabulary.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common.errors import InputError
from evaluate.config import SampleConfig
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import AnyState, check_finite, log_probs

GREEDY_BELOW = 1e-5
"""Smallest temperature that is used: in fp32, a division by a tiny number gives NaN."""


def with_temperature(logits_NV: Tensor, temperature: float) -> Tensor:
    """Return the logits of softmax(logits / temperature). Raise InputError unless the temperature is above 0.

    Values below 1 make the distribution sharper, values above 1 flatter.
    """
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature must be a number above 0, not {temperature}")
    # The best logit becomes 0. So a tiny temperature gives -inf to the others, not +inf to many.
    return (logits_NV - logits_NV.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits_NV: Tensor, k: int) -> Tensor:
    """Keep each row's k most likely tokens, exactly k even among equals. Raise InputError for k < 1."""
    if k < 1:
        raise InputError(f"top_k must be at least 1, not {k}")
    values, index = logits_NV.topk(min(k, logits_NV.shape[-1]))
    return torch.full_like(logits_NV, float("-inf")).scatter(-1, index, values)


def keep_top_p(logits_NV: Tensor, p: float) -> Tensor:
    """Keep each row's smallest set of most likely tokens whose probabilities add up to at least p, at least one token.

    Nucleus sampling (Holtzman et al. 2020). Raise InputError unless 0 < p <= 1.
    """
    if not 0 < p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, not {p}")
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
    """Sample one token per row. Return tokens_N (int64). A temperature below 1e-5 takes the most likely token.

    Probabilities are computed in fp32, or in float64 for float64 logits.

    Args:
        generator: source of random numbers, on the device of the logits.
        uniform_N: instead of `generator`, a number in [0, 1) for each row. The token of a row depends only on its own
            number and logits.

    Raises:
        InputError: a setting is out of range.
    """
    if logits_NV.dtype != torch.float64:
        logits_NV = logits_NV.float()
    greedy = 0 <= temperature < GREEDY_BELOW
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
    """Return tokens_N (int64) by inverse transform sampling: the token whose cumulative interval contains uniform_N."""
    # In fp32 the running sum over a large vocabulary would lose its rare tokens. MPS has no float64.
    dtype = torch.float32 if probs_NV.device.type == "mps" else torch.float64
    ends_NV = probs_NV.cumsum(dim=-1, dtype=dtype)
    point_N1 = uniform_N.to(ends_NV).unsqueeze(-1) * ends_NV[:, -1:]  # the sum is 1 only up to rounding
    return torch.searchsorted(ends_NV, point_N1, right=True).squeeze(-1).clamp(max=probs_NV.size(-1) - 1)


def random_numbers(seed: int, number: int, ids: Sequence[int]) -> random.Random:
    """Return the generator of sample `number` of a text. It depends on the seed, the number and the ids only."""
    # For a text as seed, all Python versions give the same numbers; Python hashes the text with SHA-512.
    return random.Random(f"{seed} {number} {list(ids)}")


def sample_outputs(
    step: Callable[[Tensor, AnyState], Tensor],
    state: AnyState,
    max_len_N: Tensor,
    constraints: Constraints,
    *,
    bos_id: int,
    config: SampleConfig,
    draws: Sequence[random.Random],
) -> list[tuple[tuple[int, ...], float]]:
    """Sample an output for each row. Return its tokens and their natural log-probability.

    The last token is EOS, unless the output reached its `max_len` first. The log-probability is that of the model
    itself, without `config` and `constraints`.

    Args:
        step, state: as in `beam_search`, but the state has one row per output at the start.
        max_len_N: largest number of tokens of each output, EOS included; on the decoder's device.
        constraints: forbidden tokens, minimum length, and a prefix for each row.
        config: temperature, top-k and top-p.
        draws: source of random numbers of each row. Other rows change the output of a row by rounding only.

    Raises:
        InputError: the constraints cannot be met, or the scores of the model are not finite.
    """
    if len(max_len_N) == 0:
        return []
    limits = max_len_N.tolist()
    constraints.check(limits)
    prefix_NT = constraints.prefix_table(max_len_N.device)
    # All numbers are drawn at once. Number n decides token n.
    uniform_NT = torch.tensor([[draw.random() for _ in range(max(limits))] for draw in draws], dtype=torch.float64)
    drawn: list[list[int]] = [[] for _ in limits]
    log_prob_N = torch.zeros(len(limits), dtype=torch.float64)
    row_R = torch.arange(len(limits))  # rows that are not finished
    tokens_R = torch.full_like(max_len_N, bos_id, dtype=torch.long)
    for n in range(1, max(limits) + 1):
        logp_RV = log_probs(step(tokens_R, state))
        allowed_RV = logp_RV.clone()
        constraints.apply(allowed_RV, n, prefix_NT, row_R.to(prefix_NT.device))
        uniform_R = uniform_NT[row_R, n - 1]
        tokens_R = sample(allowed_RV, config.temperature, config.top_k, config.top_p, uniform_N=uniform_R)
        log_prob_N[row_R] += logp_RV.gather(1, tokens_R.unsqueeze(1)).squeeze(1).cpu()
        tokens = tokens_R.tolist()
        for row, token in zip(row_R.tolist(), tokens, strict=True):
            drawn[row].append(token)
        unfinished = [i for i, row in enumerate(row_R.tolist()) if tokens[i] != constraints.eos_id and n < limits[row]]
        if not unfinished:
            break
        if len(unfinished) < len(tokens):
            keep_R = torch.tensor(unfinished)
            state.reorder(keep_R.to(tokens_R.device))
            row_R, tokens_R = row_R[keep_R], tokens_R[keep_R.to(tokens_R.device)]
    check_finite(bool(log_prob_N.isfinite().all()))
    return list(zip(map(tuple, drawn), log_prob_N.tolist(), strict=True))
