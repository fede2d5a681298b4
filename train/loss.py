"""Section 5.4: cross-entropy with label smoothing, summed over predicted tokens."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_pipeline.examples import IGNORE

CHUNK = {"cpu": 1 << 19}
"""Number of logits that are in fp32 at the same time: on a CPU, as many as fit its caches."""
GPU_CHUNK = 1 << 26
ROWS = {"cpu": 1024}
"""Number of tokens whose logits exist at the same time in training. Fewer would make the matrix products slower."""
GPU_ROWS = 4096


def smoothed_cross_entropy(logits_BLV: Tensor, labels_BL: Tensor, smoothing: float) -> Tensor:
    """Return the sum over predicted tokens of the cross-entropy against (1 - smoothing) one-hot + smoothing uniform.

    The uniform distribution is over the whole vocabulary (Szegedy et al. 2015, which the paper cites). Positions with
    the label `IGNORE` add nothing. The result is a sum, because the trainer divides by the number of predicted tokens
    of the whole update; a mean of means over batches of unequal sizes would be wrong. It is computed in fp32, or in
    float64 if the logits are in float64.
    """
    logits_NV, labels_N = logits_BLV.flatten(0, 1), labels_BL.flatten()
    dtype = _at_least_fp32(logits_NV.dtype)
    rows = len(logits_NV) if logits_NV.dtype == dtype else _rows_at_once(logits_NV)
    losses = [
        F.cross_entropy(part_CV.to(dtype), part_C, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
        for part_CV, part_C in zip(logits_NV.split(rows), labels_N.split(rows), strict=True)
    ]
    return torch.stack(losses).sum()


def linear_cross_entropy(
    x_BLD: Tensor,
    output: nn.Linear,
    labels_BL: Tensor,
    smoothing: float,
    dtype: torch.dtype | None = None,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """Return `smoothed_cross_entropy` of the logits `output(x_BLD)`, without keeping the logits of all tokens.

    Args:
        dtype: dtype of the logits and of their gradient. Default: that of x.
        scale: the caller multiplies the result by it before the backward pass. The gradient is multiplied before it is
            rounded to half precision; in fp16, small gradients would underflow.
    """
    x_ND, labels_N = x_BLD.flatten(0, 1), labels_BL.flatten()
    if labels_N.is_cpu:  # on a GPU, the host would have to wait for the number of predicted tokens
        predicted_N = labels_N != IGNORE
        x_ND, labels_N = x_ND[predicted_N], labels_N[predicted_N]
    scale = torch.as_tensor(scale, dtype=_at_least_fp32(x_ND.dtype), device=x_ND.device)
    total: Tensor = _LinearCrossEntropy.apply(
        x_ND, output.weight, output.bias, labels_N, smoothing, dtype or x_ND.dtype, scale
    )
    return total


def most_rows(device: torch.device) -> int:
    """Return the largest number of tokens whose logits exist at the same time in training."""
    return ROWS.get(device.type, GPU_ROWS)


class _LinearCrossEntropy(torch.autograd.Function):
    """Output layer and loss, whose gradient is computed in the forward pass: softmax minus smoothed label.

    With a vocabulary of 37,000, the logits of 25,000 tokens need 3.7 GB in fp32, and as much for their gradient. Here a
    block of tokens has logits at the same time. Their gradient replaces them, a few rows at a time, and is multiplied
    by x and by the weight. Only these products are kept. The gradient of the weight is summed over the blocks in the
    dtype of the products: in bf16, the rounding error of 8 blocks is 1.4 times that of one block, about 0.4% of the
    gradient. `benchmarks/loss.py` measures the time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        scale: Tensor,
    ) -> Tensor:
        w_VD, b_V = weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)
        dx_ND, dw_VD = torch.empty_like(x_ND, dtype=dtype), torch.zeros_like(w_VD)
        db_V = None if bias_V is None else torch.zeros_like(bias_V)
        total = torch.zeros((), dtype=scale.dtype, device=x_ND.device)
        block = most_rows(x_ND.device)
        for first in range(0, len(x_ND), block):
            rows = slice(first, first + block)
            x_MD = x_ND[rows].to(dtype)
            logits_MV = F.linear(x_MD, w_VD, b_V)
            total += _replace_by_gradient(logits_MV, labels_N[rows], smoothing, scale)
            torch.mm(logits_MV, w_VD, out=dx_ND[rows])
            dw_VD.addmm_(logits_MV.T, x_MD)
            if db_V is not None:
                db_V += logits_MV.sum(0, dtype=db_V.dtype)
        ctx.gradients, ctx.scale = (dx_ND, dw_VD, db_V), scale
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.gradients is not None, "the loss has one backward pass"
        own, ctx.gradients = ctx.gradients, None
        factor = gradients[0] / ctx.scale
        return (*(None if gradient is None else gradient.mul_(factor) for gradient in own), None, None, None, None)


def _replace_by_gradient(logits_NV: Tensor, labels_N: Tensor, smoothing: float, scale: Tensor) -> Tensor:
    """Return the loss of these rows, and replace the logits by `scale` times its gradient, a few rows at a time."""
    dtype, vocab, rows = _at_least_fp32(logits_NV.dtype), logits_NV.size(1), _rows_at_once(logits_NV)
    total = torch.zeros((), dtype=dtype, device=logits_NV.device)
    for logits_CV, labels_C in zip(logits_NV.split(rows), labels_N.split(rows), strict=True):
        counts_C1 = (labels_C[:, None] != IGNORE).to(dtype)
        label_C1 = labels_C[:, None].clamp(min=0)
        p_CV = F.softmax(logits_CV, dim=-1, dtype=dtype)
        # The largest probability cannot underflow, so it gives the logarithm of the sum of exponentials.
        log_sum_C1 = logits_CV.amax(-1, keepdim=True) - p_CV.amax(-1, keepdim=True).log()
        mean_C1 = logits_CV.mean(-1, keepdim=True, dtype=dtype)
        logit_C1 = logits_CV.gather(1, label_C1).to(dtype)
        smoothed_C1 = (1 - smoothing) * logit_C1 + smoothing * mean_C1 - log_sum_C1
        total -= (smoothed_C1 * counts_C1).sum()
        p_CV.scatter_add_(1, label_C1, torch.full_like(counts_C1, smoothing - 1))
        counts_C1 *= scale
        torch.addcmul(counts_C1 * (-smoothing / vocab), p_CV, counts_C1, out=logits_CV)
    return total


def _rows_at_once(logits_NV: Tensor) -> int:
    return max(1, CHUNK.get(logits_NV.device.type, GPU_CHUNK) // logits_NV.size(1))


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
