"""Small models in double precision, and inputs for them."""

from dataclasses import replace

import torch
from torch import Tensor

from transformer.config import ModelConfig
from transformer.model import GPT, Transformer

SMALL = ModelConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=4, d_ff=32, max_len=32)


def small(**changes: object) -> Transformer:
    """Return a small Transformer in double precision without dropout."""
    torch.manual_seed(0)
    return Transformer(replace(SMALL, **changes)).double().eval()  # type: ignore[arg-type]


def small_gpt(**changes: object) -> GPT:
    """Return a small GPT in double precision without dropout."""
    torch.manual_seed(0)
    return GPT(replace(SMALL, architecture="gpt", **changes)).double().eval()  # type: ignore[arg-type]


def sources() -> tuple[Tensor, Tensor]:
    """Return three sentences of 7, 4 and 5 tokens, and their mask."""
    torch.manual_seed(1)
    src_BM = torch.randint(4, 40, (3, 7))
    mask_BM = torch.arange(7) < torch.tensor([[7], [4], [5]])
    return src_BM.masked_fill(~mask_BM, 0), mask_BM


def targets() -> Tensor:
    """Return three sentences of 6 tokens."""
    torch.manual_seed(2)
    return torch.randint(4, 40, (3, 6))
