"""Matrices laid out for oneDNN: what makes a model on a CPU translate faster, and fit for inference alone.

PyTorch hands a float32 matrix product to MKL, which reads the rows of a matrix that is larger than the caches slowly
where there are few of the other, as in decoding, and slower still on processors that are not Intel's. oneDNN, which
PyTorch has too and uses for bfloat16, is up to five times as fast there once the matrix lies in its own blocks
(docs/decoding.md has the figures). PyTorch's compiler does the same when it freezes a model; these are its operators.
"""

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import InputError

ROWS = 16
"""For how many rows the blocks are chosen. Decoding has 1 to some hundreds; measured, this choice is good for all."""


class PackedLinear(nn.Module):
    """x W^T + b, as the `nn.Linear` that it is made of, except for rounding."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # Not parameters: nothing but the product can read them.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return product

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedLinear":
        raise InputError("a packed model stays where it is and as it is: load it again for another device or type")

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        raise InputError("a packed model cannot be saved: its weights are those of the folder that it was loaded from")


def pack(model: nn.Module) -> None:
    """Replace every `nn.Linear` of a model that is on a CPU; does nothing where the machine or the type lacks it.

    Only inference is left then. A matrix that is an embedding, too, stays there as it is.
    """
    if not can_pack(next(model.parameters())):
        return
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child))


def can_pack(weight: Tensor) -> bool:
    """Whether this machine has oneDNN's product in the type and on the device of `weight`."""
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):  # elsewhere not measured
        return False
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
