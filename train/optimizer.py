"""Section 5.3: Adam, and AdamW as a named variation."""

import torch
from torch import nn

from train.config import OptimizerConfig


def make_optimizer(model: nn.Module, settings: OptimizerConfig) -> torch.optim.Adam:
    """Return the optimizer that `settings` names. The trainer sets the learning rate before every update.

    AdamW (Loshchilov and Hutter, 2019) applies weight decay to matrices, not to biases and norms, as usual for GPT-2.
    """
    betas = (settings.beta1, settings.beta2)
    if settings.name == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=betas, eps=settings.eps, fused=True)
    else:
        matrices = [p for p in model.parameters() if p.dim() >= 2]
        others = [p for p in model.parameters() if p.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.eps, fused=True)
    _reserve_moments(optimizer)
    return optimizer


def _reserve_moments(optimizer: torch.optim.Adam) -> None:
    """Allocate the moments now and not in the first step, so that the memory check counts them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
