"""Sections 3.3 to 3.5: feed-forward network, embedding, positions; and what a named variation puts in their place."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from transformer.config import ModelConfig
from transformer.dropout import Dropout


class FeedForward(nn.Module):
    """Section 3.3: the same two layers at every position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)
        self.activation = _activation(config)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.outer(self.activation(self.inner(x_BLD)))  # Eq. 2


def sinusoidal_positions(max_len: int, d_model: int) -> Tensor:
    """Section 3.5: the table of position encodings, (max_len, d_model), sine and cosine interleaved."""
    angle = _angles(max_len, d_model)
    table_LD = torch.empty(max_len, d_model, dtype=torch.float64)
    table_LD[:, 0::2] = angle.sin()  # PE(pos, 2i)
    table_LD[:, 1::2] = angle.cos()  # PE(pos, 2i + 1)
    return table_LD.to(torch.get_default_dtype())


class Embedding(nn.Module):
    """Sections 3.4, 3.5 and 5.4: tokens times sqrt(d_model), plus positions, then dropout."""

    positions: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model)
        if not config.scale_embedding:
            self.scale = 1.0  # Departure from the paper: Radford et al. (2019), whose code does not scale
        self.max_len = config.max_len
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.empty(config.max_len, config.d_model))
        elif config.positions == "rotary":
            self.positions = None  # Departure from the paper: RotaryPositions, in self-attention, take their place
        else:
            table = sinusoidal_positions(config.max_len, config.d_model)
            self.register_buffer("positions", table, persistent=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens_BL: Tensor, start: int = 0) -> Tensor:
        """Ids (B, L) to (B, L, D); the first of them stands at position `start`.

        Raises ValueError when a position is past `max_len`.
        """
        end = start + tokens_BL.size(1)
        if end > self.max_len:
            raise InputError(f"a sequence of {end} tokens is longer than model.max_len {self.max_len}")
        x_BLD = self.tokens(tokens_BL) * self.scale
        if self.positions is not None:
            x_BLD = x_BLD + self.positions[start:end]
        return self.dropout(x_BLD)


# Below: what a named variation puts in the place of the above, and who chooses.


class GatedFeedForward(nn.Module):
    """Departure from the paper: SwiGLU (Shazeer, 2020, Eq. 6), here with biases. Two matrices into d_ff, one out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.gate = nn.Linear(config.d_model, config.d_ff)
        self.outer = nn.Linear(config.d_ff, config.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        return self.outer(F.silu(self.gate(x_BLD)) * self.inner(x_BLD))


class RotaryPositions(nn.Module):
    """Departure from the paper: Su et al. (2021), section 3.2. Turns each query and key by angles that grow with its
    position, so that their product, and with it the attention, depends on positions by their distance alone.

    The angles are those of section 3.5, with the head size for d_model. The pairs that turn are (i, i + K/2), as in
    GPT-NeoX and Llama, not (2i, 2i + 1), as Su et al. print: the same model with the rows of W^Q and W^K reordered.
    """

    cos_MK: Tensor
    sin_MK: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        angle = _angles(config.max_len, config.head_size)
        cos_MK = torch.cat([angle.cos(), angle.cos()], dim=1)
        sin_MK = torch.cat([-angle.sin(), angle.sin()], dim=1)
        self.register_buffer("cos_MK", cos_MK.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sin_MK", sin_MK.to(torch.get_default_dtype()), persistent=False)

    def forward(self, q_BHLK: Tensor, k_BHLK: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Both turned, in their own type; the first of L stands at position `start`."""
        return self._turn(q_BHLK, start), self._turn(k_BHLK, start)

    def _turn(self, x_BHLK: Tensor, start: int) -> Tensor:
        positions = slice(start, start + x_BHLK.size(2))
        other_BHLK = x_BHLK.roll(x_BHLK.size(-1) // 2, dims=-1)  # of each pair the other number
        return (x_BHLK * self.cos_MK[positions] + other_BHLK * self.sin_MK[positions]).type_as(x_BHLK)


def make_feed_forward(config: ModelConfig) -> FeedForward | GatedFeedForward:
    """The network of section 3.3, or the gated one."""
    return GatedFeedForward(config) if config.activation == "swiglu" else FeedForward(config)


def make_norm(config: ModelConfig) -> nn.LayerNorm | nn.RMSNorm:
    """Layer normalisation (section 3.1), or the one that only divides by the root mean square."""
    if config.norm_kind == "rms":  # Departure from the paper: Zhang and Sennrich (2019), Eq. 4
        return nn.RMSNorm(config.d_model, eps=1e-5)  # LayerNorm's epsilon: PyTorch's would change with the dtype
    return nn.LayerNorm(config.d_model)


def _activation(config: ModelConfig) -> Callable[[Tensor], Tensor]:
    if config.activation == "gelu":  # Departure from the paper: Hendrycks and Gimpel (2016)
        return F.gelu
    if config.activation == "gelu_tanh":  # Departure from the paper: the same, section 2; as in GPT-2's code
        return partial(F.gelu, approximate="tanh")
    return F.relu


def _angles(max_len: int, size: int) -> Tensor:
    """pos / 10000^(2i / size) of section 3.5, (max_len, size / 2).

    In double precision: in fp32 the angle of position 1000 is already wrong in the fifth digit.
    """
    position_L1 = torch.arange(max_len, dtype=torch.float64).unsqueeze(1)
    even_i = torch.arange(0, size, 2, dtype=torch.float64)
    return position_L1 / 10000 ** (even_i / size)
