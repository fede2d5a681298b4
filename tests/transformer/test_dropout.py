"""Section 5.4: dropout draws other random numbers than PyTorch, with the same distribution."""

import math

import pytest
import torch

from transformer.dropout import STEPS, Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_dropout_drops_with_probability_p(p: float) -> None:
    torch.manual_seed(0)
    n = 400_000
    dropped = (Dropout(p)(torch.ones(n)) == 0).sum().item()
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_dropout_divides_kept_elements_by_keep_probability(p: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, dtype=torch.float64)
    y = Dropout(p)(x)
    kept = y != 0
    limit = round((1 - p) * STEPS)
    torch.testing.assert_close(y[kept], x[kept] * STEPS / limit)
    assert abs(limit / STEPS - (1 - p)) <= 0.5 / STEPS


def test_dropout_drops_neighbours_independently() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(200_000)) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 8):  # four of them share a random number
        assert abs((dropped[:-distance] * dropped[distance:]).mean().item()) < 0.25 * 5 / math.sqrt(200_000)


def test_dropout_mask_does_not_depend_on_dtype() -> None:
    masks = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.manual_seed(3)
        masks.append(Dropout(0.3)(torch.ones(7, 11, dtype=dtype)) == 0)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


def test_dropout_gradient_has_same_mask_as_output() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 13, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_dropout_is_identity_in_eval_mode_and_at_p_zero() -> None:
    x = torch.randn(20)
    state = torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state)
