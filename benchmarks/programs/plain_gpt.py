"""A plain GPT and its training loop, in the manner of nanoGPT (github.com/karpathy/nanoGPT).

Written for the benchmark. It does what nanoGPT does, in the same order: queries, keys and values from one linear layer,
PyTorch's fused attention, pre-norm, GELU, learned positions, a tied output layer, biases everywhere; random windows of
a memory-mapped file as batches, the next one drawn between forward and backward pass; AdamW on two groups of
parameters, the gradient clipped to norm 1, the learning rate set and the loss read at every step. It generates without
a cache: every token costs a forward pass over the whole context. It is faster than nanoGPT in one point: nanoGPT uses
PyTorch's fused AdamW only on a GPU; here all programs use it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Size of a model and its batch."""

    n_layers: int
    n_heads: int
    d_model: int
    block: int
    """Longest context and length of every training window, in tokens."""
    batch: int
    """Number of windows in an update."""
    vocab_size: int


class PlainAttention(nn.Module):
    """Causal self-attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.qkv = nn.Linear(shape.d_model, 3 * shape.d_model)
        self.out = nn.Linear(shape.d_model, shape.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        b, length, d = x_BLD.shape
        q, k, v = (
            x.view(b, length, self.n_heads, d // self.n_heads).transpose(1, 2) for x in self.qkv(x_BLD).split(d, dim=2)
        )
        a_BHLK = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(a_BHLK.transpose(1, 2).contiguous().view(b, length, d))


class PlainBlock(nn.Module):
    """Attention and feed-forward network, pre-norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(shape.d_model)
        self.attention = PlainAttention(shape)
        self.norm_2 = nn.LayerNorm(shape.d_model)
        self.inner = nn.Linear(shape.d_model, 4 * shape.d_model)
        self.outer = nn.Linear(4 * shape.d_model, shape.d_model)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        x_BLD = x_BLD + self.attention(self.norm_1(x_BLD))
        return x_BLD + self.outer(F.gelu(self.inner(self.norm_2(x_BLD))))


class PlainGPT(nn.Module):
    """Language model: tokens to logits of the next tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.block = shape.block
        self.tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.positions = nn.Embedding(shape.block, shape.d_model)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.d_model)
        self.output = nn.Linear(shape.d_model, shape.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                residual = name.endswith(("out.weight", "outer.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.n_layers) if residual else 0.02)
        self.output.weight = self.tokens.weight

    def forward(self, tokens_BL: Tensor, last_only: bool = False) -> Tensor:
        """Return logits (B, L, V), or (B, 1, V) of the last position, which is enough to generate."""
        position_L = torch.arange(tokens_BL.size(1), device=tokens_BL.device)
        x_BLD = self.tokens(tokens_BL) + self.positions(position_L)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        x_BLD = self.norm(x_BLD)
        return self.output(x_BLD[:, [-1]] if last_only else x_BLD)

    @torch.no_grad()
    def generate(self, tokens_BL: Tensor, new: int, temperature: float, top_k: int | None) -> Tensor:
        """Return the tokens and `new` more; each depends on the last `block` tokens."""
        for _ in range(new):
            context_BL = tokens_BL[:, -self.block :]
            logits_BV = self(context_BL, last_only=True)[:, -1] / temperature
            if top_k is not None:
                best, _ = torch.topk(logits_BV, min(top_k, logits_BV.size(-1)))
                logits_BV[logits_BV < best[:, [-1]]] = -math.inf
            next_B1 = torch.multinomial(F.softmax(logits_BV, dim=-1), num_samples=1)
            tokens_BL = torch.cat((tokens_BL, next_B1), dim=1)
        return tokens_BL


class PlainTraining:
    """A model, its AdamW and its data."""

    def __init__(self, model: nn.Module, logits: Callable[[Tensor], Tensor], data_file: Path, shape: Shape) -> None:
        self.model, self.logits, self.data_file, self.shape = model, logits, data_file, shape
        parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
        self.done = 0
        self.windows = self._get_batch()

    def run(self, steps: int) -> float:
        """Train for some steps and return the tokens per second."""
        self.model.train()
        started = time.perf_counter()
        for _ in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            x_BL, y_BL = self.windows
            logits_BLV = self.logits(x_BL)
            loss = F.cross_entropy(logits_BLV.view(-1, logits_BLV.size(-1)), y_BL.view(-1), ignore_index=-1)
            self.windows = self._get_batch()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()
            self.done += 1
        return steps * self.shape.batch * self.shape.block / (time.perf_counter() - started)

    def _rate(self, warmup: int = 100, decay: int = 2000, highest: float = 1e-3, lowest: float = 1e-4) -> float:
        if self.done < warmup:
            return highest * (self.done + 1) / (warmup + 1)
        ratio = min((self.done - warmup) / (decay - warmup), 1.0)
        return lowest + 0.5 * (1 + math.cos(math.pi * ratio)) * (highest - lowest)

    def _get_batch(self) -> tuple[Tensor, Tensor]:
        data = np.memmap(self.data_file, dtype=np.uint16, mode="r")  # opened again for each batch, as in nanoGPT
        block = self.shape.block
        starts = torch.randint(len(data) - block, (self.shape.batch,))
        x_BL = torch.stack([torch.from_numpy(data[i : i + block].astype(np.int64)) for i in starts])
        y_BL = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block].astype(np.int64)) for i in starts])
        return x_BL, y_BL
