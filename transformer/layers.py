"""Sections 3.3 to 3.5: feed-forward network, embedding, positions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transformer.config import ModelConfig


class FeedForward(nn.Module):
    """Section 3.3: the same two layers at every position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)
        self.activation: Callable[[Tensor], Tensor] = F.relu if config.activation == "relu" else F.gelu

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.outer(self.activation(self.inner(x_BLD)))  # Eq. 2


def sinusoidal_positions(max_len: int, d_model: int) -> Tensor:
    """Section 3.5: the table of position encodings, (max_len, d_model), sine and cosine interleaved.

    Computed in double precision: in fp32 the angle of position 1000 is already wrong in the fifth digit.
    """
    position_L1 = torch.arange(max_len, dtype=torch.float64).unsqueeze(1)
    even_i = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position_L1 / 10000 ** (even_i / d_model)
    table_LD = torch.empty(max_len, d_model, dtype=torch.float64)
    table_LD[:, 0::2] = angle.sin()  # PE(pos, 2i)
    table_LD[:, 1::2] = angle.cos()  # PE(pos, 2i + 1)
    return table_LD.to(torch.get_default_dtype())


class Embedding(nn.Module):
    """Sections 3.4, 3.5 and 5.4: tokens times sqrt(d_model), plus positions, then dropout."""

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model)
        self.max_len = config.max_len
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.empty(config.max_len, config.d_model))
        else:
            table = sinusoidal_positions(config.max_len, config.d_model)
            self.register_buffer("positions", table, persistent=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens_BL: Tensor, start: int = 0) -> Tensor:
        """Ids (B, L) to (B, L, D); the first of them stands at position `start`.

        Raises ValueError when a position is past `max_len`.
        """
        end = start + tokens_BL.size(1)
        if end > self.max_len:
            raise ValueError(f"a sequence of {end} tokens is longer than model.max_len {self.max_len}")
        return self.dropout(self.tokens(tokens_BL) * self.scale + self.positions[start:end])
