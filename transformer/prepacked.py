"""Weights laid out for inference on a CPU: faster products, and a model that can neither be trained nor saved.

PyTorch computes float32 products with MKL. MKL reads a matrix that is larger than the CPU caches slowly if the other
matrix has few rows, as in decoding, and more slowly on CPUs that are not Intel's. oneDNN, which is part of PyTorch,
is up to five times as fast there if the matrix is stored in oneDNN's own blocks (docs/decoding.md has the figures).

PyTorch has no public function for this. Only the functions below `_works`
call its private operators, which its compiler also calls when it freezes a model. If a version of PyTorch has not got
them, or they return something else, `prepack` does not change the model, and decoding is slower.
"""

import math
import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from common.errors import InputError
from transformer.block import TransformerBlock

ROWS = 16
"""Number of rows that the blocks are chosen for. Decoding has 1 to some hundreds; 16 was good for all in
measurements."""


class InferenceLinear(nn.Module):
    """A linear layer whose weights only one operator can read. It has a fixed device and dtype and cannot be saved."""

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        # Not a parameter: an operator's own layout has no other use.
        self.bias = None if bias is None else bias.detach()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "InferenceLinear":
        raise InputError("a prepacked model has a fixed device and dtype. Load the model again for another one.")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        raise InputError("a prepacked model cannot be saved. Its weights are in the folder that it was loaded from.")


class PrepackedLinear(InferenceLinear):
    """x W^T + b, equal to the given `nn.Linear` except for rounding."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.bias)
        self.weight_blocks = _reorder(linear.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        return _product(x, self.weight_blocks, self.bias)


def prepack(model: nn.Module) -> None:
    """Replace every `nn.Linear` of a model for inference. Does nothing if `can_prepack` returns False.

    One matrix computes queries, keys and values of self-attention.

    A matrix that is also an embedding stays in the embedding.
    """
    if not can_prepack(next(model.parameters())):
        return
    for module in list(model.modules()):
        if isinstance(module, TransformerBlock):
            module.self_attention.stack()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, PrepackedLinear(child))


def can_prepack(weight: Tensor) -> bool:
    """Return True if PyTorch and the CPU have oneDNN's product for the dtype and the device of `weight`."""
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):  # not measured on other CPUs
        return False
    return weight.dtype in (torch.float32, torch.bfloat16) and _works(weight.dtype)


@cache
def _works(dtype: torch.dtype) -> bool:
    """Try a small product with the private operators."""
    if not torch.backends.mkldnn.is_available():
        return False
    weight = torch.arange(6, dtype=dtype, device="cpu").view(3, 2)
    x = torch.ones(1, 2, dtype=dtype, device="cpu")
    try:
        if dtype == torch.bfloat16 and not _has_bfloat16():
            return False
        return torch.equal(_product(x, _reorder(weight), None), linear(x, weight))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def _reorder(weight: Tensor) -> Tensor:
    blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return blocks


def _product(x: Tensor, blocks: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, blocks, bias, "none", [], "")
    return product


def _has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def least_d_model_for_bfloat16() -> float:
    """Return the d_model from which decoding on this CPU is faster in bfloat16 than in float32, or infinity."""
    try:
        if torch.cpu._is_amx_tile_supported():
            return 256
        return 512 if torch.cpu._is_avx512_bf16_supported() else math.inf
    except AttributeError:
        return math.inf
