"""Choosing the next token at random: temperature, top-k and top-p, each a pure function of logits_NV.

A token that a filter removes gets the logit -inf. `sample` applies temperature, then top-k, then top-p.
`sample_outputs` draws whole outputs through the interface that beam search has.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from common.errors import InputError
from evaluate.config import SampleConfig
from evaluate.decoding.search import AnyState, Constraints, log_probs


def with_temperature(logits_NV: Tensor, temperature: float) -> Tensor:
    """Logits of softmax(logits / temperature): below 1 sharper, above 1 flatter. Raises ValueError unless > 0."""
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature must be a number above 0, not {temperature}")
    # Shifted so that the best is 0: a tiny temperature then gives -inf to the others, not +inf to many.
    return (logits_NV - logits_NV.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits_NV: Tensor, k: int) -> Tensor:
    """Keep each row's k most likely tokens, exactly k even among equals. Raises ValueError for k < 1."""
    if k < 1:
        raise InputError(f"top_k must be at least 1, not {k}")
    values, index = logits_NV.topk(min(k, logits_NV.shape[-1]))
    return torch.full_like(logits_NV, float("-inf")).scatter(-1, index, values)


def keep_top_p(logits_NV: Tensor, p: float) -> Tensor:
    """Keep each row's smallest set of most likely tokens whose probabilities add up to at least p, never none.

    Nucleus sampling (Holtzman et al. 2020). Raises ValueError unless 0 < p <= 1.
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


def random_numbers(seed: int, number: int, ids: Sequence[int]) -> random.Random:
    """Where sample `number` of a text gets its numbers in [0, 1) from: all of these decide, and nothing else does."""
    # Python gives the same numbers for the same text in all its versions, and hashes the text with SHA-512.
    return random.Random(f"{seed} {number} {list(ids)}")


def sample_outputs(
    step: Callable[[Tensor, AnyState], Tensor],
    state: AnyState,
    max_len_N: Tensor,
    draws: Sequence[random.Random],
    config: SampleConfig,
    constraints: Constraints,
    bos_id: int,
) -> list[tuple[tuple[int, ...], float]]:
    """Draw an output for each row: its tokens, EOS included unless it was cut, and their natural log-probability.

    Args:
        step, state: as in `beam_search`, but the state starts with a row for each output.
        max_len_N: longest output per row in tokens, EOS included; on the device of the decoder.
        draws: of each row. A row has the same output whatever the other rows are, except for rounding.
        config: temperature, top-k and top-p.
        constraints: what may be drawn. The log-probability is the model's own, as without them and without `config`.

    Raises ValueError for constraints that cannot be met and for a model whose scores are not finite.
    """
    if len(max_len_N) == 0:
        return []
    limits = max_len_N.tolist()
    constraints.check(limits)
    prefix_NT = constraints.prefix_table(max_len_N.device)
    # All numbers are drawn at once: the n-th decides about the n-th token.
    uniform_NT = torch.tensor([[draw.random() for _ in range(max(limits))] for draw in draws], dtype=torch.float64)
    drawn: list[list[int]] = [[] for _ in limits]
    log_prob_N = torch.zeros(len(limits), dtype=torch.float64)
    row_R = torch.arange(len(limits))  # the rows that still grow, R of the N
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
        grows = [i for i, row in enumerate(row_R.tolist()) if tokens[i] != constraints.eos_id and n < limits[row]]
        if not grows:
            break
        if len(grows) < len(tokens):
            keep_R = torch.tensor(grows)
            state.reorder(keep_R.to(tokens_R.device))
            row_R, tokens_R = row_R[keep_R], tokens_R[keep_R.to(tokens_R.device)]
    if not log_prob_N.isfinite().all():
        raise InputError("the model's scores are NaN or infinite: training diverged or weights are damaged")
    return list(zip(map(tuple, drawn), log_prob_N.tolist(), strict=True))
