"""Token sequences that a GPT continues at random, one token per step, with a key/value cache.

All continuations of a batch are at the same position, so nothing is padded or masked. The positions that every prompt
has are processed at once. Then each continuation is fed the next token of its prompt or, after the prompt, the token
that it drew. So it computes the same as it would alone, and it has its own random numbers.

Shapes: N continuations in the batch, V vocabulary.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluate.config import SampleConfig
from evaluate.decoding.sampling import random_numbers, sample
from transformer.cache import DecodingState
from transformer.model import GPT

BATCH_POSITIONS = 32768
"""Largest number of positions in a batch for which keys and values are stored; limits its memory."""


@dataclass
class Continuation:
    """One sample of one prompt while it is generated."""

    ids: list[int]
    """Token ids of the prompt and the drawn tokens, without the token that ends a document."""
    start: int
    """Number of tokens in the prompt."""
    draws: random.Random
    """Source of its random numbers."""
    ended: bool = False
    """True if no more tokens are drawn."""
    slid: bool = False
    """True if it became longer than the context of the model, which then processed only its last tokens again."""

    def add(self, token: int, end_id: int | None, max_tokens: int) -> None:
        """Append a drawn token, or end."""
        self.ended = token == end_id
        if not self.ended:
            self.ids.append(token)
            self.ended = len(self.ids) == self.start + max_tokens


def new_continuation(ids: list[int], seed: int, number: int) -> Continuation:
    """Return sample `number` of a prompt. What it draws depends on the seed, the number and the prompt only."""
    return Continuation(list(ids), len(ids), random_numbers(seed, number, ids))


def prompt_batches(
    continuations: Sequence[Continuation], max_tokens: int, context: int
) -> Iterator[list[Continuation]]:
    """Yield batches, the shortest prompt first. A batch has at most `BATCH_POSITIONS`, or one continuation.

    The longest prompt of a batch has at most `max_tokens` tokens more than its shortest. Otherwise it would be fed
    token by token after the others have ended.
    """
    waiting = sorted(continuations, key=lambda continuation: continuation.start)
    while waiting:
        n = 1
        while n < len(waiting) and waiting[n].start <= waiting[0].start + max_tokens:
            if (n + 1) * min(waiting[n].start + max_tokens, context) > BATCH_POSITIONS:
                break
            n += 1
        yield waiting[:n]
        waiting = waiting[n:]


@torch.inference_mode()
def generate_batch(model: GPT, batch: list[Continuation], config: SampleConfig, end_id: int | None) -> Iterator[None]:
    """Extend each continuation until it ends; yield after each step.

    A continuation ends after `config.max_tokens` new tokens, or at `end_id`. Positions in the cache are fixed. So if
    the context is full, the last half of it is processed again as the new context. No prompt may be longer than the
    context.
    """
    context = model.config.max_len
    longest = max(continuation.start for continuation in batch) + config.max_tokens
    fed = min(continuation.start for continuation in batch) - 1  # tokens of each continuation that are in the cache
    state = _start(model, batch, 0, fed + 1, min(context, longest))
    while batch:
        if state.length == context:
            state = _start(model, batch, fed + 1 - kept_tokens(context), fed + 1, context)
            for continuation in batch:
                continuation.slid = True
        logits_NV = model.step(_tensor([continuation.ids[fed] for continuation in batch], model), state)
        fed += 1
        _draw([(c, n) for n, c in enumerate(batch) if len(c.ids) == fed], logits_NV, config, end_id)
        yield
        unfinished = [n for n, continuation in enumerate(batch) if not continuation.ended]
        if 0 < len(unfinished) < len(batch):
            state.reorder(_tensor(unfinished, model))
        batch = [batch[n] for n in unfinished]


def kept_tokens(context: int) -> int:
    """Return how many tokens are kept if the context is full."""
    return max(1, context // 2)


def _start(model: GPT, batch: list[Continuation], first: int, end: int, capacity: int) -> DecodingState:
    """Return the state after tokens `first` to `end - 2`. Equal sequences of tokens are processed once."""
    sequences = [tuple(continuation.ids[first:end]) for continuation in batch]
    index = {sequence: n for n, sequence in enumerate(dict.fromkeys(sequences))}
    state = model.start(_tensor(list(index), model), capacity)
    if len(index) < len(batch):
        state.reorder(_tensor([index[sequence] for sequence in sequences], model))
    return state


def _draw(drawing: list[tuple[Continuation, int]], logits_NV: Tensor, config: SampleConfig, end_id: int | None) -> None:
    """Draw a token for each continuation that is past its prompt; each comes with its row of the logits."""
    uniform = [0.0] * logits_NV.size(0)
    for continuation, n in drawing:
        uniform[n] = continuation.draws.random()
    uniform_N = torch.tensor(uniform, dtype=torch.float64)
    tokens = sample(logits_NV, config.temperature, config.top_k, config.top_p, uniform_N=uniform_N).tolist()
    for continuation, n in drawing:
        continuation.add(tokens[n], end_id, config.max_tokens)


def _tensor(ids: Sequence[int] | Sequence[Sequence[int]], model: GPT) -> Tensor:
    return torch.tensor(ids, device=model.embedding.tokens.weight.device)
