"""Exponential mean of the weights (Polyak and Juditsky, 1992), for validation and the final model.

The mean is a part of the optimizer state, so that checkpoints contain it and the memory check counts it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

MEAN = "ema"
"""Name of the mean in the optimizer state of a parameter."""


def start_mean(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Begin the mean with the weights of the model."""
    for parameter in model.parameters():
        optimizer.state[parameter][MEAN] = parameter.detach().clone()


def update_mean(model: nn.Module, optimizer: torch.optim.Optimizer, decay: float, step: int) -> None:
    """Move the mean towards the weights after update `step`, which is 1 for the first.

    The decay is smaller in the first updates, so that the mean forgets the first weights: (step - 1) / (step + 9).
    """
    parameters = [parameter.detach() for parameter in model.parameters()]
    means = [optimizer.state[parameter][MEAN] for parameter in model.parameters()]
    torch._foreach_lerp_(means, parameters, 1 - min(decay, (step - 1) / (step + 9)))


@contextmanager
def weights_replaced_by_mean(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put the mean into the model, and the weights back at the end."""
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(optimizer.state[parameter][MEAN])
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(weight)
