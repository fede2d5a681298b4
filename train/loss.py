"""Section 5.4: cross-entropy against smoothed labels, summed over tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from data_pipeline.examples import IGNORE

CHUNK = {"cpu": 1 << 19}
"""Logits that are in fp32 at once: on a processor as many as its caches hold."""
GPU_CHUNK = 1 << 26


def smoothed_cross_entropy(logits_BLV: Tensor, labels_BL: Tensor, smoothing: float) -> Tensor:
    """Sum over target tokens of the cross-entropy against (1 - smoothing) one-hot + smoothing uniform.

    The uniform part is over the whole vocabulary (Szegedy et al. 2015, which the paper cites). Positions
    labelled `IGNORE` count nothing. A sum, since only an update knows how many tokens to divide by: the mean
    of means over batches of unequal sizes is wrong. In fp32 at least, whatever the logits are in.
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
    """The same sum, and in the same pass the gradient of it, which is softmax minus smoothed label.

    A vocabulary of 37,000 makes of 25,000 tokens 3.7 GB of logits in fp32, and PyTorch's function reads and writes as
    much several times, forward and backward. Here some rows at a time are in fp32, and what stays is the gradient in
    the type of the logits. `benchmarks/loss.py` measures both.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, labels_N: Tensor, smoothing: float) -> Tensor:
        dtype, vocab = _at_least_fp32(logits_NV), logits_NV.size(1)
        # In fp16 small ones would be lost before they meet the loss scale, which comes with the backward pass.
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
        assert ctx.gradient_NV is not None, "a loss goes backward once"
        gradient_NV: Tensor = ctx.gradient_NV.mul_(gradients[0]).to(ctx.dtype)
        ctx.gradient_NV = None
        return gradient_NV, None, None


def _rows_at_once(logits_NV: Tensor) -> int:
    return max(1, CHUNK.get(logits_NV.device.type, GPU_CHUNK) // logits_NV.size(1))


def _at_least_fp32(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
