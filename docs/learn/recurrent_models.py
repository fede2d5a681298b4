"""Two translators without Transformer: the models that docs/learn/recurrent.md compares with it.

Both have the interface of `transformer.model.Transformer`: `forward`, `start`, `step`, and a tied `output` layer. So
the same trainer, loss and search work with all three.

Shapes: B sentences, M source tokens, L target tokens, D embedding, W width of the recurrent state, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transformer.model import count_parameters


class Recurrent(nn.Module):
    """What both have in common: one embedding for source, target and output, as in section 3.4 of the paper."""

    def __init__(self, vocab_size: int, d_model: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.project = nn.Linear(features, d_model)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.output.weight = self.embedding.weight
        self.scale = math.sqrt(d_model)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings of tokens, times sqrt(d_model)."""
        embedded: Tensor = self.embedding(tokens) * self.scale
        return embedded


class GruTranslator(Recurrent):
    """Encoder and decoder are GRUs (Cho et al., 2014). All that the decoder gets is the encoder's last state."""

    def __init__(self, vocab_size: int, d_model: int, width: int) -> None:
        super().__init__(vocab_size, d_model, width)
        self.encoder = nn.GRU(d_model, width, batch_first=True)
        self.decoder = nn.GRU(d_model, width, batch_first=True)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor, *, logits: bool = True) -> Tensor:
        """Return the logits (B, L, V) of the token after each target token, or what they are computed from."""
        (state_1BW,) = self.start(src_BM, src_mask_BM, tgt_BL.size(1))
        x_BLD = self.project(self.decoder(self.embed(tgt_BL), state_1BW)[0])
        return self.output(x_BLD) if logits else x_BLD

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> list[Tensor]:
        """Read the sources. Return the encoder's state after the last token of each."""
        states_BMW, _ = self.encoder(self.embed(src_BM))
        return [states_BMW[torch.arange(len(src_BM)), src_mask_BM.sum(dim=1) - 1][None]]

    def step(self, tokens_N: Tensor, state: list[Tensor]) -> Tensor:
        """Process one token per row. Return the logits (N, V) of the next token."""
        x_N1W, state[0] = self.decoder(self.embed(tokens_N[:, None]), state[0])
        logits_NV: Tensor = self.output(self.project(x_N1W[:, 0]))
        return logits_NV


class LstmTranslator(Recurrent):
    """LSTMs in both directions read the source; an LSTM cell attends to their states (Bahdanau et al., 2015).

    The attention of a step needs the state of the step before. So the decoder is a loop, in training as well.
    """

    def __init__(self, vocab_size: int, d_model: int, width: int) -> None:
        super().__init__(vocab_size, d_model, 2 * width)
        self.encoder = nn.LSTM(d_model, width // 2, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(d_model + width, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, src_BM: Tensor, src_mask_BM: Tensor, tgt_BL: Tensor, *, logits: bool = True) -> Tensor:
        """Return the logits (B, L, V) of the token after each target token, or what they are computed from."""
        state = self.start(src_BM, src_mask_BM, tgt_BL.size(1))
        x_BLD = torch.stack([self._next(x_BD, state) for x_BD in self.embed(tgt_BL).unbind(dim=1)], dim=1)
        return self.output(x_BLD) if logits else x_BLD

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> list[Tensor]:
        """Read the sources. Return the decoder's first state, and what its attention needs."""
        lengths = src_mask_BM.sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(src_BM), lengths, batch_first=True, enforce_sorted=False
        )  # the backward direction begins at the last token, not at the padding
        states_BMW, _ = nn.utils.rnn.pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=src_BM.size(1)
        )
        zeros_BW = states_BMW.new_zeros(len(src_BM), states_BMW.size(2))
        return [zeros_BW, zeros_BW, states_BMW, self.key(states_BMW), src_mask_BM]

    def step(self, tokens_N: Tensor, state: list[Tensor]) -> Tensor:
        """Process one token per row. Return the logits (N, V) of the next token."""
        logits_NV: Tensor = self.output(self._next(self.embed(tokens_N), state))
        return logits_NV

    def _next(self, x_BD: Tensor, state: list[Tensor]) -> Tensor:
        """Update the state by one token and return the features of the next one, (B, D)."""
        h_BW, c_BW, states_BMW, keys_BMW, mask_BM = state
        scores_BM = self.score((self.query(h_BW)[:, None] + keys_BMW).tanh()).squeeze(2)
        weights_BM = scores_BM.masked_fill(~mask_BM, -math.inf).softmax(dim=1)
        context_BW = (weights_BM[:, None] @ states_BMW)[:, 0]
        state[0], state[1] = self.cell(torch.cat([x_BD, context_BW], dim=1), (h_BW, c_BW))
        features_BD: Tensor = self.project(torch.cat([state[0], context_BW], dim=1))
        return features_BD


def fitting(make: Callable[[int], nn.Module], parameters: int) -> int:
    """Return the largest even width with which a model has at most this number of parameters."""
    width = 2
    while count_parameters(make(width + 2)) <= parameters:
        width += 2
    return width


def longest_chain(result: Tensor) -> int:
    """Return the number of operations that had to be computed one after the other, from a weight to the result.

    The operations are those that autograd recorded, so a matrix product is one operation, whatever its size.
    """
    depth: dict[Any, int] = {}
    waiting = [result.grad_fn]
    while waiting:
        node = waiting[-1]
        before = [other for other, _ in node.next_functions if other is not None]  # type: ignore[union-attr]
        missing = [other for other in before if other not in depth]
        if missing:
            waiting += missing
        else:
            depth[waiting.pop()] = 1 + max((depth[other] for other in before), default=0)
    return depth[result.grad_fn]
