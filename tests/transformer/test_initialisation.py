"""First weights: tensor2tensor's and GPT-2's."""

import math
from dataclasses import replace

import pytest
import torch

from transformer.config import ModelConfig
from transformer.model import Transformer, build


def test_initialise_uses_xavier_and_unit_variance_of_scaled_embeddings() -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=5000, d_model=64, n_layers=1, n_heads=4, d_ff=256)
    model = Transformer(config)
    assert model.output.weight.std().item() == pytest.approx(64**-0.5, rel=0.02)
    block = model.encoder.blocks[0]
    for linear in (block.self_attention.query, block.feed_forward.inner):
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert (linear.bias == 0).all()


@pytest.mark.parametrize("architecture", ["transformer", "gpt"])
@pytest.mark.parametrize("tying", ["output", "none"])
@pytest.mark.parametrize("activation", ["gelu_tanh", "swiglu"])
def test_initialise_as_gpt2_has_standard_deviations_of_gpt2(architecture: str, tying: str, activation: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=900, d_model=128, n_layers=2, n_heads=4, d_ff=256, max_len=100, init="gpt2")
    model = build(replace(config, architecture=architecture, tying=tying, activation=activation, positions="learned"))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (1 if name.endswith("norm.weight") else 0)).all(), name
        else:
            narrow = name.endswith(("attention.out.weight", "feed_forward.outer.weight"))
            assert parameter.std().item() == pytest.approx(0.01 if narrow else 0.02, rel=0.05), name
            assert abs(parameter.mean().item()) < 1e-3, name
