"""Sections 3.3 to 3.5: feed-forward network, embedding and positions, and their named variations."""

import math
from collections.abc import Callable
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from transformer.config import ModelConfig
from transformer.dropout import Dropout


class FeedForward(nn.Module):
    """Section 3.3: two linear layers, applied to every position alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)
        self.activation = _activation(config)
        self.dropout = Dropout(config.activation_dropout)  # Differs from the paper: tensor2tensor's transformer_base

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Compute (B, L, D) from (B, L, D)."""
        return self.outer(self.dropout(self.activation(self.inner(x_BLD))))  # Eq. 2

    def step(self, x_ND: Tensor) -> Tensor:
        """Compute (N, D) from (N, D). Equals `forward` in eval mode."""
        return self.outer.forward(self.activation(self.inner.forward(x_ND)))


def sinusoidal_positions(max_len: int, d_model: int) -> Tensor:
    """Return the position encodings of section 3.5, (max_len, d_model), with sine and cosine interleaved."""
    table_LD = torch.empty(max_len, d_model)
    for start in range(0, max_len, 4096):  # a long table in float64 would need four times the memory
        angle = _angles(start, min(start + 4096, max_len), d_model)
        table_LD[start : start + 4096, 0::2] = angle.sin()  # PE(pos, 2i)
        table_LD[start : start + 4096, 1::2] = angle.cos()  # PE(pos, 2i + 1)
    return table_LD


class Embedding(nn.Module):
    """Sections 3.4, 3.5 and 5.4: token embeddings times sqrt(d_model), plus positions, then dropout."""

    positions: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model)
        if not config.scale_embedding:
            self.scale = 1.0  # Differs from the paper: Radford et al. (2019), whose code does not scale
        self.max_len = config.max_len
        match config.positions:
            case "sinusoidal":
                table = sinusoidal_positions(config.max_len, config.d_model)
                self.register_buffer("positions", table, persistent=False)
            case "learned":  # Table 3 (E)
                self.positions = nn.Parameter(torch.empty(config.max_len, config.d_model))
            case "rotary":  # Differs from the paper: RotaryPositions in self-attention instead
                self.positions = None
            case unknown:
                assert_never(unknown)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens_BL: Tensor, start: int = 0) -> Tensor:
        """Compute (B, L, D) from token ids (B, L). The first id is at position `start`.

        Raises InputError if a position is beyond `model.max_len`.
        """
        end = start + tokens_BL.size(1)
        if end > self.max_len:
            raise InputError(f"a sequence of {end} tokens is longer than model.max_len {self.max_len}")
        x_BLD = self.tokens(tokens_BL) * self.scale
        if self.positions is not None:
            x_BLD = x_BLD + self.positions[start:end]
        return self.dropout(x_BLD)


# Named variations, and the functions that choose by the config.


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020, Eq. 6) with biases: two matrices into d_ff and one out. Differs from the paper."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.gate = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Compute (B, L, D) from (B, L, D)."""
        return self.outer(self.dropout(F.silu(self.gate(x_BLD)) * self.inner(x_BLD)))

    def step(self, x_ND: Tensor) -> Tensor:
        """Compute (N, D) from (N, D). Equals `forward` in eval mode."""
        return self.outer.forward(F.silu(self.gate.forward(x_ND)) * self.inner.forward(x_ND))


class RotaryPositions(nn.Module):
    """Rotary positions (Su et al., 2021, section 3.2). Differs from the paper.

    Each query and key is rotated by angles that are proportional to its position. Their product, and so the
    attention, then depends only on the distance of two positions.

    The angles are those of section 3.5, with the head size instead of d_model. A rotated pair is (i, i + K/2), as in
    GPT-NeoX and Llama. Su et al. print (2i, 2i + 1); the two differ only in the order of the rows of W^Q and W^K.
    """

    cos_MK: Tensor
    sin_MK: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        angle = _angles(0, config.max_len, config.head_size)
        cos_MK = torch.cat([angle.cos(), angle.cos()], dim=1)
        sin_MK = torch.cat([-angle.sin(), angle.sin()], dim=1)
        self.register_buffer("cos_MK", cos_MK.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sin_MK", sin_MK.to(torch.get_default_dtype()), persistent=False)

    def forward(self, q_BHLK: Tensor, k_BHLK: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys. The first of the L positions is `start`. Keeps the dtype."""
        return self._rotate(q_BHLK, start), self._rotate(k_BHLK, start)

    def _rotate(self, x_BHLK: Tensor, start: int) -> Tensor:
        positions = slice(start, start + x_BHLK.size(2))
        other_BHLK = x_BHLK.roll(x_BHLK.size(-1) // 2, dims=-1)  # the other number of each pair
        return (x_BHLK * self.cos_MK[positions] + other_BHLK * self.sin_MK[positions]).type_as(x_BHLK)


def make_feed_forward(config: ModelConfig) -> FeedForward | GatedFeedForward:
    """Return the network of section 3.3, or the gated one."""
    return GatedFeedForward(config) if config.activation == "swiglu" else FeedForward(config)


def make_norm(config: ModelConfig) -> nn.LayerNorm | nn.RMSNorm:
    """Return layer normalisation (section 3.1), or RMS normalisation, which only divides by the root mean square."""
    match config.norm_kind:
        case "layer":
            return nn.LayerNorm(config.d_model)
        case "rms":  # Differs from the paper: Zhang and Sennrich (2019), Eq. 4
            return nn.RMSNorm(config.d_model, eps=1e-5)  # LayerNorm's epsilon; RMSNorm's default depends on the dtype
        case unknown:
            assert_never(unknown)


def _activation(config: ModelConfig) -> Callable[[Tensor], Tensor]:
    match config.activation:
        case "relu":
            return F.relu
        case "gelu":  # Differs from the paper: Hendrycks and Gimpel (2016)
            return F.gelu
        case "gelu_tanh":  # Differs from the paper: Hendrycks and Gimpel (2016), section 2, as in GPT-2's code
            return partial(F.gelu, approximate="tanh")
        case "silu":  # Differs from the paper: Ramachandran et al. (2017), as in Marian
            return F.silu
        case "swiglu":
            raise AssertionError("swiglu has its own class, GatedFeedForward")
        case unknown:
            assert_never(unknown)


def _angles(start: int, end: int, size: int) -> Tensor:
    """Return pos / 10000^(2i / size) of section 3.5 for the positions from `start` to `end`, (end - start, size / 2).

    In double precision, because in fp32 the angle of position 1000 is already wrong in the fifth digit.
    """
    position_L1 = torch.arange(start, end, dtype=torch.float64).unsqueeze(1)
    even_i = torch.arange(0, size, 2, dtype=torch.float64)
    return position_L1 / 10000 ** (even_i / size)
