"""The exercise on attention heads: a list of heads equals the library's batched attention."""

import pytest
import torch
from torch import Tensor

from docs.exercises import heads as exercise
from docs.exercises.heads import ListOfHeads, batched, causal_mask, copy_weights, make_both
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig

D_MODEL, N_HEADS = 12, 3
HEAD_SIZES = [4, 5, 2]  # d_model / n_heads, larger, smaller


def inputs() -> Tensor:
    """Return two sequences of seven positions."""
    torch.manual_seed(1)
    return torch.randn(2, 7, D_MODEL, dtype=torch.float64, requires_grad=True)


def both(head_size: int) -> tuple[ListOfHeads, MultiHeadAttention]:
    torch.manual_seed(0)
    return make_both(D_MODEL, N_HEADS, head_size, torch.float64)


def assert_same(one: Tensor | None, other: Tensor | None) -> None:
    assert one is not None
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_list_of_heads_equals_batched_attention(head_size: int, causal: bool) -> None:
    heads, attention = both(head_size)
    mask_LM = causal_mask(7) if causal else None
    assert_same(heads(inputs(), mask_LM), attention(inputs(), causal=causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_batched_eq_1_equals_batched_attention(head_size: int, causal: bool) -> None:
    _, attention = both(head_size)
    mask_LM = causal_mask(7) if causal else None
    assert_same(batched(attention, inputs(), mask_LM), attention(inputs(), causal=causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_gradients_of_list_of_heads_equal_batched_attention(head_size: int, causal: bool) -> None:
    heads, attention = both(head_size)
    x_BLD, other_x_BLD = inputs(), inputs()
    heads(x_BLD, causal_mask(7) if causal else None).square().sum().backward()
    attention(other_x_BLD, causal=causal).square().sum().backward()
    assert_same(x_BLD.grad, other_x_BLD.grad)
    for name in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
        rows = torch.cat([exercise.gradient(head, name) for head in heads.heads])
        assert_same(rows, attention.get_parameter(name).grad)
    assert_same(heads.out.weight.grad, attention.out.weight.grad)


def test_copy_weights_gives_each_head_its_rows() -> None:
    heads, attention = both(head_size=5)
    for i in range(N_HEADS):
        own = heads.get_parameter(f"heads.{i}.value.weight")
        assert torch.equal(attention.value.weight[5 * i : 5 * (i + 1)], own)


def test_copy_weights_rejects_attention_of_other_shape() -> None:
    heads, _ = both(head_size=5)
    with pytest.raises(RuntimeError, match="must match the size"):
        copy_weights(heads, MultiHeadAttention(ModelConfig(d_model=D_MODEL, n_heads=N_HEADS, d_head=4)))


def test_head_does_not_depend_on_masked_positions() -> None:
    heads, _ = both(head_size=4)
    x_BLD = inputs()
    heads(x_BLD, causal_mask(7))[:, 3].sum().backward()
    assert x_BLD.grad is not None
    assert (x_BLD.grad[:, :4] != 0).any(dim=-1).all()
    assert (x_BLD.grad[:, 4:] == 0).all()


def test_script_prints_rows_and_speed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercise, "time_in_turn", lambda functions: [2.0, 1.0, 0.5])
    exercise.main()
    printed = capsys.readouterr().out
    assert "its rows 48 to 63 are head 3's          True" in printed
    assert "4.0 times as fast as the list" in printed
