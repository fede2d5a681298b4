"""Token sequences that a GPT continues at random, one token a step, with a key/value cache.

All rows of a batch stand at the same place of their own sequences, so nothing is padded or masked: what every prompt
has is read at once, and then a row is fed the next token of its prompt or, where that is used up, the one it has
drawn. A row therefore computes what it would compute alone, and its random numbers are its own.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluate.config import SampleConfig
from evaluate.decoding.sampling import sample
from transformer.cache import DecodingState
from transformer.model import GPT

BATCH_POSITIONS = 32768  # bounds the memory of a batch: the positions of its rows for which keys and values are kept


@dataclass
class Row:
    """One sample of one prompt while it grows."""

    ids: list[int]
    """The prompt, then what was drawn; the token that ends a document is left out."""
    start: int
    """Tokens of the prompt."""
    draws: random.Random
    """Where its random numbers come from."""
    ended: bool = False
    slid: bool = False
    """It has outgrown the model's context and forgotten its beginning."""

    def add(self, token: int, end_id: int | None, max_tokens: int) -> None:
        """Take a token that was drawn."""
        self.ended = token == end_id
        if not self.ended:
            self.ids.append(token)
            self.ended = len(self.ids) == self.start + max_tokens


def new_row(ids: list[int], seed: int, number: int) -> Row:
    """Sample `number` of a prompt. Seed, number and prompt decide what it draws, and nothing else."""
    # Python gives the same numbers for the same text in all its versions, and hashes the text with SHA-512.
    return Row(list(ids), len(ids), random.Random(f"{seed} {number} {ids}"))


def batches(rows: Sequence[Row], max_tokens: int, context: int) -> Iterator[list[Row]]:
    """The rows in batches, shortest prompt first; a batch takes at most `BATCH_POSITIONS`, or is one row.

    Its longest prompt is used up before its shortest could be done: one that is longer by more than `max_tokens`
    would be fed token by token while nothing else is left to grow.
    """
    rows = sorted(rows, key=lambda row: row.start)
    while rows:
        n = 1
        while n < len(rows) and rows[n].start <= rows[0].start + max_tokens:
            if (n + 1) * min(rows[n].start + max_tokens, context) > BATCH_POSITIONS:
                break
            n += 1
        yield rows[:n]
        rows = rows[n:]


@torch.inference_mode()
def grow(model: GPT, rows: list[Row], config: SampleConfig, end_id: int | None) -> Iterator[None]:
    """Let the rows grow to their ends; yields after each step.

    A row ends after `config.max_tokens` new tokens, or at `end_id`. Positions cannot be moved in a cache, so where
    the context is full its last half is read anew. No prompt may be longer than the context.
    """
    context = model.config.max_len
    longest = max(row.start for row in rows) + config.max_tokens
    fed = min(row.start for row in rows) - 1  # tokens of each row that the model has read
    state = _read(model, rows, 0, fed + 1, min(context, longest))
    while rows:
        if state.length == context:
            state = _read(model, rows, fed + 1 - kept_of(context), fed + 1, context)
            for row in rows:
                row.slid = True
        logits_NV = model.step(_tensor([row.ids[fed] for row in rows], model), state)
        fed += 1
        _extend([(row, n) for n, row in enumerate(rows) if len(row.ids) == fed], logits_NV, config, end_id)
        yield
        growing = [n for n, row in enumerate(rows) if not row.ended]
        if 0 < len(growing) < len(rows):
            state.reorder(_tensor(growing, model))
        rows = [rows[n] for n in growing]


def kept_of(context: int) -> int:
    """Tokens from which the model goes on where the context is full."""
    return max(1, context // 2)


def _read(model: GPT, rows: list[Row], first: int, end: int, capacity: int) -> DecodingState:
    """The state of rows that have read these tokens but the last; what is the same in several is read once."""
    parts = [tuple(row.ids[first:end]) for row in rows]
    place = {part: n for n, part in enumerate(dict.fromkeys(parts))}
    state = model.start(_tensor(list(place), model), capacity)
    if len(place) < len(rows):
        state.reorder(_tensor([place[part] for part in parts], model))
    return state


def _extend(drawing: list[tuple[Row, int]], logits_NV: Tensor, config: SampleConfig, end_id: int | None) -> None:
    """Draw a token for those rows whose prompt is used up; each comes with its place among the logits."""
    uniform = [0.0] * logits_NV.size(0)
    for row, n in drawing:
        uniform[n] = row.draws.random()
    uniform_N = torch.tensor(uniform, dtype=torch.float64)
    tokens = sample(logits_NV, config.temperature, config.top_k, config.top_p, uniform_N=uniform_N).tolist()
    for row, n in drawing:
        row.add(tokens[n], end_id, config.max_tokens)


def _tensor(ids: Sequence[int] | Sequence[Sequence[int]], model: GPT) -> Tensor:
    return torch.tensor(ids, device=model.embedding.tokens.weight.device)
