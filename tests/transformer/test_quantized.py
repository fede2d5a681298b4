"""8-bit linear layers: close to float32, and independent of the other rows of a batch."""

from pathlib import Path

import pytest
import torch
from torch import nn

from evaluate.config import DecodeConfig
from evaluate.scorer import Scorer
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from transformer import quantized
from transformer.quantized import QuantizedLinear, can_quantize, quantize

needs_int8 = pytest.mark.skipif(not can_quantize(), reason="this machine has no exact 8-bit product")


@needs_int8
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (300, 48), (2, 5, 48)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 0.012), (torch.bfloat16, 0.013)])
def test_quantized_linear_is_close_to_linear(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype, error: float
) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(48, 70, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        expected, found = linear(x), QuantizedLinear(linear.to(dtype))(x.to(dtype))
    assert found.dtype == dtype
    assert (found - expected).norm() < error * expected.norm()


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantized_linear_does_not_depend_on_other_rows(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 64) * torch.logspace(-3, 3, 40).unsqueeze(1)
    x[7] = 0
    with torch.inference_mode():
        layer = QuantizedLinear(nn.Linear(64, 33, dtype=dtype))
        alone = torch.cat([layer(row) for row in x.to(dtype).split(1)])
        torch.testing.assert_close(layer(x.to(dtype)), alone, atol=0, rtol=0)


@needs_int8
def test_int8_translator_is_close_to_float32_and_does_not_depend_on_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "SMALLEST", 0)
    folder, config = make_folder(tmp_path), DecodeConfig(beam=3, max_extra=6)
    exact, rough = (Translator.from_pretrained(folder, config, "cpu", name) for name in ("float32", "int8"))
    assert rough.compute_type == "int8"
    together = [best[0] for best in rough.translate(TEXT)]
    assert [best.text for best in together] == [rough([line])[0] for line in TEXT]
    sources, outputs = exact.encode(TEXT), [best.tokens for best in together]
    assert [b.log_prob for b in together] == pytest.approx(
        [s.log_prob for s in Scorer(exact).score_ids(sources, outputs)], rel=0.25
    )


def test_quantize_keeps_small_matrices() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    if can_quantize():
        quantize(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_quantize_fails_if_operator_is_missing(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise error("no such operator")

    can_quantize.cache_clear()
    monkeypatch.setattr(quantized, "_product", fail)
    with pytest.raises(ValueError, match="no 8-bit product for this CPU"):
        quantize(nn.Sequential())
    can_quantize.cache_clear()
