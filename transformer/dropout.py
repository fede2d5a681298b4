"""Section 5.4: dropout, with random numbers that cost less time on a CPU."""

import torch
from torch import Tensor, nn

STEPS = 1 << 16
"""Resolution of the keep probability: an element is kept if its 16-bit random number is below a limit."""


class Dropout(nn.Dropout):
    """In training, set each element to 0 with probability p, and divide the others by 1 - p.

    On a CPU, PyTorch draws a 32-bit number for each element, one after the other. In an update of the Multi30k model
    this takes a seventh of the time. In this class, four elements share one 64-bit number of the same generator, which
    takes a quarter of that. p is therefore rounded to a multiple of 1/65,536, and elements are divided by the rounded
    1 - p, so that the mean is exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Take and return a tensor of any shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        limit = max(1, round((1 - self.p) * STEPS))
        return x * _below(limit, x.shape).to(x.dtype).mul_(STEPS / limit)


def _below(limit: int, shape: torch.Size) -> Tensor:
    """Return a boolean tensor of that shape whose elements are True with probability limit / STEPS."""
    numbers = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    return numbers.view(torch.int16)[: shape.numel()].view(shape) < limit - STEPS // 2
