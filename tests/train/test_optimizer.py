"""Optimizers: which weights Muon changes, and by how much."""

import copy

import torch
from torch import nn

from train.config import OptimizerConfig
from train.optimizer import make_optimizer
from transformer.config import ModelConfig
from transformer.model import build

SIZES = ModelConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2, d_ff=32, norm="pre")


def step(model: nn.Module, settings: OptimizerConfig, lr: float) -> None:
    optimizer = make_optimizer(model, settings)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()


def models_with_gradient() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    model = build(SIZES)
    ids = torch.randint(20, (4, 7))
    model(ids, torch.ones_like(ids, dtype=torch.bool), ids).square().sum().backward()
    twin = copy.deepcopy(model)
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        other.grad = parameter.grad
    return model, twin


def test_muon_changes_matrices_of_blocks_by_orthogonal_matrix() -> None:
    model, before = models_with_gradient()
    step(model, OptimizerConfig("muon", weight_decay=0.5), lr=0.01)
    old = dict(before.named_parameters())
    changed = [name for name, p in model.named_parameters() if ".blocks." in name and p.dim() == 2]
    assert len(changed) == 4 + 2 + 8 + 2
    for name in changed:
        matrix = model.get_parameter(name).detach()
        change = (old[name].detach() * (1 - 0.01 * 0.5) - matrix) / (0.01 * 0.2 * max(matrix.shape) ** 0.5)
        largest = torch.linalg.svdvals(change)[: torch.linalg.matrix_rank(old[name].grad, rtol=0.02)]
        assert 0.5 < largest.min() <= largest.max() < 1.3, name  # five steps of the iteration are not exact


def test_muon_changes_other_weights_like_adam() -> None:
    model, adam = models_with_gradient()
    step(model, OptimizerConfig("muon"), lr=0.01)
    step(adam, OptimizerConfig("adam"), lr=0.01)
    for (name, one), other in zip(model.named_parameters(), adam.parameters(), strict=True):
        assert torch.equal(one, other) == (".blocks." not in name or one.dim() == 1), name
