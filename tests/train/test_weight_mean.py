"""The exponential mean of the weights."""

import torch
from torch import nn

from train.config import OptimizerConfig
from train.optimizer import make_optimizer
from train.weight_mean import MEAN, start_mean, update_mean, weights_replaced_by_mean


def test_update_mean_equals_formula() -> None:
    model = nn.Linear(3, 2, dtype=torch.float64)
    optimizer = make_optimizer(model, OptimizerConfig())
    start_mean(model, optimizer)
    expected = torch.zeros_like(model.weight)
    for step in range(1, 40):
        nn.init.normal_(model.weight)
        update_mean(model, optimizer, 0.7, step)
        decay = min(0.7, (step - 1) / (step + 9))
        expected = decay * expected + (1 - decay) * model.weight
    torch.testing.assert_close(optimizer.state[model.weight][MEAN], expected.detach())


def test_weights_replaced_by_mean_restores_weights() -> None:
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, OptimizerConfig())
    start_mean(model, optimizer)
    mean = model.weight.detach().clone()
    nn.init.normal_(model.weight)
    weights = model.weight.detach().clone()
    with weights_replaced_by_mean(model, optimizer):
        assert torch.equal(model.weight, mean)
    assert torch.equal(model.weight, weights)
