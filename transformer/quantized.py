"""Linear layers with 8-bit weights and 8-bit products for inference on a CPU.

Each row of a weight matrix has its own scale, and so has each row of the input ("vector-wise quantization", Dettmers et
al., 2022, section 2.1). So a sentence does not depend on the other sentences of its batch: sums of integers are exact,
and each row is scaled alone.

As in `transformer.prepacked`, two functions call private operators of PyTorch, which its compiler also calls.
"""

import platform
from functools import cache

import torch
from torch import Tensor, nn

from common.errors import InputError
from transformer.prepacked import ROWS, InferenceLinear

SMALLEST = 2**19
"""Matrices with fewer elements keep their type: quantising the input would cost as much as the product gains."""
LARGEST = 127
ZERO = 128
"""The operator's inputs are unsigned: 128 means 0."""


class QuantizedLinear(InferenceLinear):
    """x W^T + b with weights and inputs of 8 bits. The output has the type of x."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.bias)
        weight = linear.weight.detach().float()
        self.scale = _scale(weight).squeeze(-1)
        self.weight_blocks = _reorder(_round(weight, self.scale.unsqueeze(-1)))
        self.zeros = torch.zeros_like(self.scale, dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        wide = x.float()
        scale = _scale(wide)
        unsigned = _round(wide, scale).view(torch.uint8).bitwise_xor_(ZERO)
        product = _product(unsigned, self.weight_blocks, self.scale, self.zeros, x.dtype)
        scale = scale.to(x.dtype)
        return product.mul_(scale) if self.bias is None else torch.addcmul(self.bias, product, scale, out=product)


def quantize(model: nn.Module) -> None:
    """Replace every `nn.Linear` with at least `SMALLEST` weights by a `QuantizedLinear`.

    Raises InputError if PyTorch or the CPU has no exact 8-bit product.
    """
    if not can_quantize():
        raise InputError("PyTorch has no 8-bit product for this CPU. Use the compute type float32 or bfloat16.")
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and child.weight.numel() >= SMALLEST:
                setattr(module, name, QuantizedLinear(child))


@cache
def can_quantize() -> bool:
    """Return True if a small product with the largest numbers is exact. CPUs without VNNI limit large sums."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    weight = torch.full((16, 64), LARGEST, dtype=torch.int8)
    x = torch.full((1, 64), ZERO + LARGEST, dtype=torch.uint8)
    try:
        product = _product(x, _reorder(weight), torch.ones(16), torch.zeros(16, dtype=torch.int32), torch.float32)
        return torch.equal(product, torch.full((1, 16), 64.0 * LARGEST * LARGEST))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def _scale(x: Tensor) -> Tensor:
    """Return the step between two numbers of 8 bits for each row."""
    return x.abs().amax(-1, keepdim=True).mul_(1 / LARGEST).clamp_min_(1e-12)


def _round(x: Tensor, scale: Tensor) -> Tensor:
    return (x / scale).round_().to(torch.int8)


def _reorder(weight: Tensor) -> Tensor:
    blocks: Tensor = torch.ops.onednn.qlinear_prepack(weight, [ROWS, weight.size(1)])
    return blocks


def _product(x: Tensor, blocks: Tensor, scale: Tensor, zeros: Tensor, dtype: torch.dtype) -> Tensor:
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, ZERO, blocks, scale, zeros, None, 1.0, 0, dtype, "none", [], ""
    )
    return product
