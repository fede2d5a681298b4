"""The exercise on attention heads: a list of heads and the library's batched attention are one function."""

import pytest
import torch
from torch import Tensor

from docs.exercises import heads as exercise
from docs.exercises.heads import ListOfHeads, batched, copy_weights, make_both, past_and_present
from transformer.attention import MultiHeadAttention
from transformer.config import ModelConfig

D_MODEL, N_HEADS = 12, 3
HEAD_SIZES = [4, 5, 2]  # d_model / n_heads, larger, smaller


def inputs() -> Tensor:
    """Two sequences of seven positions."""
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
def test_a_list_of_heads_gives_the_output_of_the_batched_attention(head_size: int, causal: bool) -> None:
    heads, attention = both(head_size)
    mask_LM = past_and_present(7) if causal else None
    assert_same(heads(inputs(), mask_LM), attention(inputs(), causal=causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_eq_1_written_out_for_all_heads_gives_the_same_output(head_size: int, causal: bool) -> None:
    _, attention = both(head_size)
    mask_LM = past_and_present(7) if causal else None
    assert_same(batched(attention, inputs(), mask_LM), attention(inputs(), causal=causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_their_gradients_are_the_same(head_size: int, causal: bool) -> None:
    heads, attention = both(head_size)
    x_BLD, other_x_BLD = inputs(), inputs()
    heads(x_BLD, past_and_present(7) if causal else None).square().sum().backward()
    attention(other_x_BLD, causal=causal).square().sum().backward()
    assert_same(x_BLD.grad, other_x_BLD.grad)
    for name in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
        rows = torch.cat([exercise.gradient(head, name) for head in heads.heads])
        assert_same(rows, attention.get_parameter(name).grad)
    assert_same(heads.out.weight.grad, attention.out.weight.grad)


def test_the_rows_of_a_head_are_its_own_weights() -> None:
    heads, attention = both(head_size=5)
    for i in range(N_HEADS):
        own = heads.get_parameter(f"heads.{i}.value.weight")
        assert torch.equal(attention.value.weight[5 * i : 5 * (i + 1)], own)


def test_weights_are_not_copied_into_an_attention_of_another_shape() -> None:
    heads, _ = both(head_size=5)
    with pytest.raises(RuntimeError, match="must match the size"):
        copy_weights(heads, MultiHeadAttention(ModelConfig(d_model=D_MODEL, n_heads=N_HEADS, d_head=4)))


def test_a_head_sees_nothing_behind_the_mask() -> None:
    heads, _ = both(head_size=4)
    x_BLD = inputs()
    heads(x_BLD, past_and_present(7))[:, 3].sum().backward()
    assert x_BLD.grad is not None
    assert (x_BLD.grad[:, :4] != 0).any(dim=-1).all()
    assert (x_BLD.grad[:, 4:] == 0).all()


def test_the_script_says_what_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "time_in_turn", lambda functions: [2.0, 1.0, 0.5])
    exercise.main()
    printed = capsys.readouterr().out
    assert "its rows 48 to 63 are head 3's          True" in printed
    assert "4.0 times as fast as the list" in printed
