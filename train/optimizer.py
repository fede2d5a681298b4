"""Section 5.3: Adam, and as named variations AdamW and Muon."""

from typing import assert_never

import torch
from torch import nn

from train.config import OptimizerConfig


def make_optimizer(model: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer that `settings` names. The trainer sets the learning rate before every update.

    AdamW (Loshchilov and Hutter, 2019) applies weight decay to matrices, not to biases and norms, as usual for GPT-2.
    """
    match settings.name:
        case "adam":
            return _adam(list(model.parameters()), settings)
        case "adamw":
            return _adamw(model, settings)
        case "muon":
            named = dict(model.named_parameters())
            matrices = [p for name, p in named.items() if ".blocks." in name and p.dim() == 2]
            others = [p for name, p in named.items() if not (".blocks." in name and p.dim() == 2)]
            return MuonAndAdam(matrices, others, settings)
        case unknown:
            assert_never(unknown)


class MuonAndAdam(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for matrices of the blocks, and Adam for all other weights.

    An update of Muon is the nearest orthogonal matrix of the momentum, times 0.2 sqrt(max(rows, columns)). With this
    factor its root mean square is that of a usual update of Adam, so both have the same learning rate, and weight decay
    as in AdamW (Liu et al., 2025, section 2.2). The nearest orthogonal matrix is computed in bf16, in every precision.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], settings: OptimizerConfig) -> None:
        self.muon = torch.optim.Muon(
            matrices, lr=0.0, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = _adam(others, settings)
        super().__init__([*self.muon.param_groups, *self.adam.param_groups], {})
        self.state.update(self.adam.state)
        for matrix in matrices:
            self.state[matrix] = {"momentum_buffer": torch.zeros_like(matrix)}
        self.muon.state = self.adam.state = self.state  # both use the parts of their own parameters

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change all weights by one update."""
        self.muon.step()
        self.adam.step()


def _adam(parameters: list[nn.Parameter], settings: OptimizerConfig) -> torch.optim.Adam:
    betas = (settings.beta1, settings.beta2)
    return _with_moments(torch.optim.Adam(parameters, lr=0.0, betas=betas, eps=settings.eps, fused=True))


def _adamw(model: nn.Module, settings: OptimizerConfig) -> torch.optim.Adam:
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    return _with_moments(torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.eps, fused=True))


def _with_moments(optimizer: torch.optim.Adam) -> torch.optim.Adam:
    """Allocate the moments now and not in the first step, so that the memory check counts them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    return optimizer
