"""Tensors to and from files and models, and the mean of several files."""

import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.transformer.small_models import small
from transformer.weights import get_weights, mean_weights, save_tensors, set_weights


def test_set_weights_inverts_get_weights() -> None:
    model, other = small(), small(tying="all")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    set_weights(other, get_weights(model))
    for name, tensor in get_weights(model).items():
        assert torch.equal(get_weights(other)[name], tensor), name


def test_get_weights_has_tied_matrix_once() -> None:
    names = get_weights(small(tying="all"))
    assert [name for name in names if name.endswith(("tokens.weight", "output.weight"))] == [
        "src_embedding.tokens.weight"
    ]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(2, 3)}, "the tensor bias is only in the model"),
        (
            {"weight": torch.ones(2, 3), "bias": torch.ones(2), "gate": torch.ones(1)},
            "the tensor gate is only in the weights",
        ),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"weight has the shape \[3, 2\]; it must be \[2, 3\]"),
    ],
)
def test_set_weights_rejects_other_names_and_shapes(tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        set_weights(nn.Linear(3, 2), tensors)


def test_save_tensors_keeps_values_and_file_permissions(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    save_tensors(tmp_path / "w", tensors)
    (tmp_path / "other").touch()
    assert (tmp_path / "w").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(tmp_path / "w").items())


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs a limit on file sizes")
def test_save_tensors_names_file_if_write_fails(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save_tensors(tmp_path / "w", {"w": torch.zeros(1 << 15)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "w")


def test_mean_weights_equals_mean() -> None:
    mean = mean_weights({"w": torch.tensor([i, 10.0 * i])} for i in range(3))
    torch.testing.assert_close(mean["w"], torch.tensor([1.0, 10.0]))
