"""Section 5.4, against its closed form; padding takes no part; accumulation adds up."""

import pytest
import torch
from torch.nn import functional as F

from data_pipeline.examples import IGNORE
from train.loss import CHUNK, smoothed_cross_entropy
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
            logits = model(src[rows], mask[rows], torch.ones(len(rows), 6, dtype=torch.long))
            (smoothed_cross_entropy(logits, labels[rows], 0.1) / tokens).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("chunk", [1, 40, 1 << 19])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_equal_pytorch_cross_entropy(
    chunk: int, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    torch.manual_seed(0)
    logits = torch.randn(3, 7, 29, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 29, (3, 7))
    labels[:, 5:] = IGNORE
    ours = smoothed_cross_entropy(logits, labels, smoothing)
    theirs = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(loss * 0.37, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-15)
    with torch.no_grad():
        torch.testing.assert_close(smoothed_cross_entropy(logits, labels, smoothing), theirs, rtol=1e-13, atol=0)


def test_loss_gradient_in_bfloat16_equals_rounded_exact_gradient() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 300).bfloat16(), torch.randint(0, 300, (20,))
    exact = logits.double().requires_grad_(True)
    rough = logits.clone().requires_grad_(True)
    smoothed_cross_entropy(exact[None], labels[None], 0.1).backward()
    smoothed_cross_entropy(rough[None], labels[None], 0.1).backward()
    assert exact.grad is not None
    assert rough.grad is not None
    torch.testing.assert_close(rough.grad.double(), exact.grad, rtol=2**-8, atol=1e-7)


def test_loss_gradient_in_fp16_is_scaled_before_rounding() -> None:
    # Probabilities down to 4e-8: fp16 knows nothing between 0 and 6e-8, and times 2^14 they are ordinary numbers.
    logits = torch.linspace(0, -10, 3000).half().view(1, 1, -1).requires_grad_(True)
    exact = logits.detach().double().requires_grad_(True)
    for one in (logits, exact):
        (smoothed_cross_entropy(one, torch.zeros(1, 1, dtype=torch.long), 0.0) * 2.0**14).backward()
    assert logits.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=2**-10, atol=0)


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
