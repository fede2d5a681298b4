"""Section 5.4: dropout, with random numbers that cost less on a processor."""

import torch
from torch import Tensor, nn

STEPS = 1 << 16
"""Of probability: an element is kept where its 16 random bits are below a limit."""


class Dropout(nn.Dropout):
    """Each element is 0 with probability p, and otherwise divided by 1 - p, in training.

    On a CPU PyTorch draws a number of 32 bits for each element, one after the other: a seventh of an update of the
    Multi30k model. Four elements share one of 64 bits here, from the same generator, which takes a quarter of that;
    p is then a multiple of 1/65,536 and the elements are divided by what it makes of 1 - p, so that means are exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if x.device.type != "cpu" or torch.compiler.is_compiling() or not self.training or self.p == 0:
            return super().forward(x)
        limit = max(1, round((1 - self.p) * STEPS))
        return x * _below(limit, x.shape).to(x.dtype).mul_(STEPS / limit)


def _below(limit: int, shape: torch.Size) -> Tensor:
    """True, in that shape, with probability limit / `STEPS`."""
    numbers = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    return numbers.view(torch.int16)[: shape.numel()].view(shape) < limit - STEPS // 2
