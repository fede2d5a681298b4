"""A packed model: the same function, faster on a CPU, for inference alone."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from evaluate.config import DecodeConfig
from evaluate.scorer import Scorer
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer.prepacked import PackedLinear, can_pack, pack

needs_onednn = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="no oneDNN for x86 here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (300, 48), (2, 5, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_product(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(48, 70, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(linear)(x), linear(x), atol=1e-5, rtol=1e-5)


@needs_onednn
def test_a_packed_model_translates_and_scores_as_before(folder: Path) -> None:
    config = DecodeConfig(beam=3, max_extra=6)
    plain, _ = load_translator(folder, config, torch.float32)
    packed, model = load_translator(folder, config, torch.float32)
    pack(model)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    expected, found = plain.translate(TEXT, n_best=3), packed.translate(TEXT, n_best=3)
    for many, few in zip(expected, found, strict=True):
        assert [t.log_prob for t in many] == pytest.approx([t.log_prob for t in few], abs=1e-4)
    sources, outputs = plain.encode(TEXT), [best[0].tokens for best in expected]
    assert [s.log_prob for s in Scorer(packed).score_ids(sources, outputs)] == pytest.approx(
        [s.log_prob for s in Scorer(plain).score_ids(sources, outputs)], abs=1e-4
    )


@needs_onednn
def test_the_tied_embedding_stays_a_parameter(folder: Path) -> None:
    _, model = load_translator(folder, DecodeConfig(), torch.float32)
    before = model.tgt_embedding.tokens.weight.detach().clone()
    pack(model)
    assert torch.equal(model.tgt_embedding.tokens.weight, before)


@needs_onednn
@pytest.mark.parametrize(
    "use", [lambda m: m.double(), lambda m: m.to("meta"), lambda m: m.state_dict()], ids=["type", "device", "save"]
)
def test_what_a_packed_model_cannot_do_is_said(folder: Path, use) -> None:  # type: ignore[no-untyped-def]
    _, model = load_translator(folder, DecodeConfig(), torch.float32)
    pack(model)
    with pytest.raises(ValueError, match="a packed model"):
        use(model)


def test_a_type_that_onednn_lacks_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 4)).double()
    expected = copy.deepcopy(model)
    pack(model)
    assert type(model[0]) is nn.Linear
    assert torch.equal(model[0].weight, expected[0].weight)
