"""Section 5.4: cross-entropy with label smoothing, summed over predicted tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from data_pipeline.examples import IGNORE

CHUNK = {"cpu": 1 << 19}
"""Number of logits that are in fp32 at the same time: on a CPU, as many as fit its caches."""
GPU_CHUNK = 1 << 26


def smoothed_cross_entropy(logits_BLV: Tensor, labels_BL: Tensor, smoothing: float) -> Tensor:
    """Return the sum over predicted tokens of the cross-entropy against (1 - smoothing) one-hot + smoothing uniform.

    The uniform distribution is over the whole vocabulary (Szegedy et al. 2015, which the paper cites). Positions with
    the label `IGNORE` add nothing. The result is a sum, because the trainer divides by the number of predicted tokens
    of the whole update; a mean of means over batches of unequal sizes would be wrong. It is computed in fp32, or in
    float64 if the logits are in float64.
    """
    logits_NV, labels_N = logits_BLV.flatten(0, 1), labels_BL.flatten()
    if torch.is_grad_enabled() and logits_NV.requires_grad:
        total: Tensor = _WithGradient.apply(logits_NV, labels_N, smoothing)
        return total
    dtype = _at_least_fp32(logits_NV)
    rows = len(logits_NV) if logits_NV.dtype == dtype else _rows_at_once(logits_NV)
    losses = [
        F.cross_entropy(part_CV.to(dtype), part_C, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        for part_CV, part_C in zip(logits_NV.split(rows), labels_N.split(rows), strict=True)
    ]
    return torch.stack(losses).sum()


class _WithGradient(torch.autograd.Function):
    """The same sum, with its gradient computed in the same pass: softmax minus smoothed label.

    With a vocabulary of 37,000, the logits of 25,000 tokens need 3.7 GB in fp32, and PyTorch's function reads and
    writes that much several times, forward and backward. Here only a few rows at a time are in fp32, and only the
    gradient is kept, in the dtype of the logits. `benchmarks/loss.py` measures both.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, labels_N: Tensor, smoothing: float) -> Tensor:
        dtype, vocab = _at_least_fp32(logits_NV), logits_NV.size(1)
        # In fp16, small gradients would underflow: the backward pass multiplies by the loss scale only later.
        kept = dtype if logits_NV.dtype == torch.float16 else logits_NV.dtype
        gradient_NV = torch.empty_like(logits_NV, dtype=kept)
        total = torch.zeros((), dtype=dtype, device=logits_NV.device)
        rows = _rows_at_once(logits_NV)
        for first in range(0, len(logits_NV), rows):
            label_C1 = labels_N[first : first + rows, None]
            counts_C1 = (label_C1 != IGNORE).to(dtype)
            label_C1 = label_C1.clamp(min=0)
            logp_CV = F.log_softmax(logits_NV[first : first + rows], dim=-1, dtype=dtype)
            smoothed_C1 = (1 - smoothing) * logp_CV.gather(1, label_C1) + smoothing * logp_CV.mean(-1, keepdim=True)
            total -= (smoothed_C1 * counts_C1).sum()
            p_CV = logp_CV.exp_().scatter_add_(1, label_C1, torch.full_like(counts_C1, smoothing - 1))
            torch.addcmul(counts_C1 * (-smoothing / vocab), p_CV, counts_C1, out=gradient_NV[first : first + rows])
        ctx.gradient_NV, ctx.dtype = gradient_NV, logits_NV.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        assert ctx.gradient_NV is not None, "the loss has one backward pass"
        gradient_NV: Tensor = ctx.gradient_NV.mul_(gradients[0]).to(ctx.dtype)
        ctx.gradient_NV = None
        return gradient_NV, None, None


def _rows_at_once(logits_NV: Tensor) -> int:
    return max(1, CHUNK.get(logits_NV.device.type, GPU_CHUNK) // logits_NV.size(1))


def _at_least_fp32(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
