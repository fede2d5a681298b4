"""Prepacked weights: the same outputs up to rounding, for inference only."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from evaluate.config import DecodeConfig
from evaluate.scorer import Scorer
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer import prepacked
from transformer.prepacked import PrepackedLinear, can_prepack, prepack

needs_onednn = pytest.mark.skipif(not can_prepack(torch.zeros(1)), reason="this machine has no oneDNN for x86")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (300, 48), (2, 5, 48)])
@pytest.mark.parametrize("bias", [True, False])
def test_prepacked_linear_equals_linear(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(48, 70, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(PrepackedLinear(linear)(x), linear(x), atol=1e-5, rtol=1e-5)


@needs_onednn
def test_prepack_keeps_translations_and_scores(folder: Path) -> None:
    config = DecodeConfig(beam=3, max_extra=6)
    plain, _ = load_translator(folder, config, torch.float32)
    fast, model = load_translator(folder, config, torch.float32)
    prepack(model)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    expected, found = plain.translate(TEXT, n_best=3), fast.translate(TEXT, n_best=3)
    for many, few in zip(expected, found, strict=True):
        assert [t.log_prob for t in many] == pytest.approx([t.log_prob for t in few], abs=1e-4)
    sources, outputs = plain.encode(TEXT), [best[0].tokens for best in expected]
    assert [s.log_prob for s in Scorer(fast).score_ids(sources, outputs)] == pytest.approx(
        [s.log_prob for s in Scorer(plain).score_ids(sources, outputs)], abs=1e-4
    )


@needs_onednn
def test_prepack_keeps_tied_embedding(folder: Path) -> None:
    _, model = load_translator(folder, DecodeConfig(), torch.float32)
    before = model.tgt_embedding.tokens.weight.detach().clone()
    prepack(model)
    assert torch.equal(model.tgt_embedding.tokens.weight, before)


@needs_onednn
@pytest.mark.parametrize(
    "use", [lambda m: m.double(), lambda m: m.to("meta"), lambda m: m.state_dict()], ids=["type", "device", "save"]
)
def test_prepacked_model_rejects_new_dtype_device_and_saving(folder: Path, use) -> None:  # type: ignore[no-untyped-def]
    _, model = load_translator(folder, DecodeConfig(), torch.float32)
    prepack(model)
    with pytest.raises(ValueError, match="a prepacked model"):
        use(model)


def test_prepack_does_not_change_float64_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4)).double()
    expected = copy.deepcopy(model)
    prepack(model)
    assert type(model[0]) is nn.Linear
    assert torch.equal(model[0].weight, expected[0].weight)


@pytest.fixture
def forget_trial() -> Iterator[None]:
    prepacked._works.cache_clear()
    yield
    prepacked._works.cache_clear()


@pytest.mark.usefixtures("forget_trial")
@pytest.mark.parametrize("operator", ["_reorder", "_product"])
@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_prepack_does_not_change_model_if_operator_is_missing(
    operator: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's operators are private: a later version may rename them or change their arguments."""

    def fail(*args: object) -> None:
        raise error("no such operator")

    monkeypatch.setattr(prepacked, operator, fail)
    model = nn.Sequential(nn.Linear(3, 4))
    prepack(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.usefixtures("forget_trial")
def test_prepack_does_not_change_model_if_operator_returns_other_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepacked, "_product", lambda x, blocks, bias: torch.zeros(1, 3))
    assert not can_prepack(torch.zeros(1))
