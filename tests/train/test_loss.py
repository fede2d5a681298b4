"""Section 5.4, against its closed form; padding takes no part; accumulation adds up."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_pipeline.examples import IGNORE
from train.loss import CHUNK, ROWS, linear_cross_entropy, smoothed_cross_entropy
from transformer.config import ModelConfig
from transformer.model import Transformer


def example() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.tensor([[3, 1, IGNORE], [0, IGNORE, IGNORE]])
    return torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_loss_equals_cross_entropy_with_smoothed_distribution(smoothing: float) -> None:
    logits, labels = example()
    expected = 0.0
    for b, i in ((0, 0), (0, 1), (1, 0)):
        q = torch.full((5,), smoothing / 5, dtype=torch.float64)
        q[labels[b, i]] += 1 - smoothing
        expected -= (q * torch.log_softmax(logits[b, i], -1)).sum().item()
    assert smoothed_cross_entropy(logits, labels, smoothing).item() == pytest.approx(expected, abs=1e-12)


def test_loss_gradient_of_padding_is_zero() -> None:
    logits, labels = example()
    smoothed_cross_entropy(logits, labels, 0.1).backward()
    assert logits.grad is not None
    assert (logits.grad[labels == IGNORE] == 0).all()
    assert (logits.grad[labels != IGNORE] != 0).all()


def test_loss_of_batch_without_targets_is_zero() -> None:
    logits, labels = example()
    loss = smoothed_cross_entropy(logits, torch.full_like(labels, IGNORE), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_sums_half_precision_logits_in_fp32(dtype: torch.dtype) -> None:
    logits = torch.zeros(8, 64, 1000, dtype=dtype)
    loss = smoothed_cross_entropy(logits, torch.zeros(8, 64, dtype=torch.long), 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(512 * 6.907755, rel=1e-5)


@pytest.mark.parametrize("split", [2, 4, 8])
def test_accumulated_gradient_equals_gradient_of_whole_batch(split: int) -> None:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=30, d_model=16, n_layers=1, n_heads=2, d_ff=32, dropout=0.0)).double()
    src, mask = torch.randint(4, 30, (8, 5)), torch.ones(8, 5, dtype=torch.bool)
    labels = torch.randint(4, 30, (8, 6))
    labels[torch.rand(8, 6) < 0.3] = IGNORE  # parts with unequal numbers of targets
    tokens = int((labels != IGNORE).sum())
    gradients = []
    for parts in (1, split):
        model.zero_grad()
        for rows in torch.arange(8).chunk(parts):
            x = model(src[rows], mask[rows], torch.ones(len(rows), 6, dtype=torch.long), logits=False)
            (linear_cross_entropy(x, model.output, labels[rows], 0.1) / tokens).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("rows", "chunk"), [(1024, 1 << 19), (4, 40), (3, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_loss_and_gradients_equal_those_of_all_logits_at_once(
    rows: int, chunk: int, smoothing: float, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS, "cpu", rows)
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    x, output, labels = linear_example(bias)
    wanted = (x, *output.parameters())
    ours = linear_cross_entropy(x, output, labels, smoothing)
    theirs = smoothed_cross_entropy(output(x), labels, smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(loss * 0.37, wanted) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def linear_example(bias: bool = False) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(29, (3, 7))
    labels[:, 5:] = IGNORE
    return torch.randn(3, 7, 8).double().requires_grad_(True), nn.Linear(8, 29, bias=bias).double(), labels


def test_linear_loss_of_batch_without_targets_is_zero() -> None:
    x, output, labels = linear_example()
    loss = linear_cross_entropy(x, output, torch.full_like(labels, IGNORE), 0.1)
    gradients = torch.autograd.grad(loss, (x, output.weight))
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients)


def test_linear_loss_in_bfloat16_differs_by_rounding_only() -> None:
    x, output, labels = linear_example()
    exact = torch.autograd.grad(linear_cross_entropy(x, output, labels, 0.1), (x, output.weight))
    x, output = x.detach().float().requires_grad_(True), output.float()
    loss = linear_cross_entropy(x, output, labels, 0.1, torch.bfloat16)
    rough = torch.autograd.grad(loss, (x, output.weight))
    assert loss.dtype == torch.float32
    for own, expected in zip(rough, exact, strict=True):
        assert own.dtype == torch.float32
        assert (own - expected).norm() < 2**-7 * expected.norm()


def test_linear_loss_in_bfloat16_rounds_the_logits_and_nothing_else() -> None:
    x, output, labels = linear_example()
    x, output = x.detach().bfloat16(), output.bfloat16()
    exact = smoothed_cross_entropy(output(x).float(), labels, 0.1)
    torch.testing.assert_close(linear_cross_entropy(x, output, labels, 0.1), exact, rtol=1e-6, atol=0)


def test_loss_of_impossible_label_is_finite() -> None:
    """In fp32, exp(-200) is 0, whose logarithm is infinite."""
    output, labels = nn.Linear(1, 3, bias=False), torch.tensor([[2]])
    output.weight.data = torch.tensor([[0.0], [-1.0], [-200.0]])
    loss = linear_cross_entropy(torch.ones(1, 1, 1), output, labels, 0.1)
    torch.testing.assert_close(loss, smoothed_cross_entropy(output(torch.ones(1, 1, 1)), labels, 0.1))


def test_linear_loss_in_fp16_scales_gradient_before_rounding() -> None:
    # Probabilities down to 4e-8: fp16 has no numbers between 0 and 6e-8. Times 2^14, the probabilities can be stored.
    output, labels, scale = nn.Linear(1, 3000, bias=False), torch.zeros(1, 1, dtype=torch.long), 2.0**14
    output.weight.data = torch.linspace(0, -10, 3000)[:, None].half().float()
    x = torch.ones(1, 1, 1)
    loss = linear_cross_entropy(x, output, labels, 0.0, torch.float16, scale)
    gradient, *_ = torch.autograd.grad(loss * scale, output.weight)
    exact, *_ = torch.autograd.grad(smoothed_cross_entropy(output(x), labels, 0.0) * scale, output.weight)
    torch.testing.assert_close(gradient, exact, rtol=2**-9, atol=0)


def test_loss_without_gradient_converts_half_precision_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation needs no gradient; there, too, only a few rows are in fp32 at the same time."""
    torch.manual_seed(0)
    logits_BLV, labels_BL = torch.randn(3, 5, 11).bfloat16(), torch.randint(11, (3, 5))
    whole = smoothed_cross_entropy(logits_BLV.float(), labels_BL, smoothing=0.1)
    monkeypatch.setitem(CHUNK, "cpu", 2 * 11)
    sizes, cross_entropy = [], F.cross_entropy
    monkeypatch.setattr(
        F, "cross_entropy", lambda part, *rest, **kw: sizes.append(len(part)) or cross_entropy(part, *rest, **kw)
    )
    torch.testing.assert_close(smoothed_cross_entropy(logits_BLV, labels_BL, smoothing=0.1), whole)
    assert sizes == [2] * 7 + [1]
