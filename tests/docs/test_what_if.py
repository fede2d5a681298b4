"""The swaps of docs/learn/what-if.md change what they say, and the script runs at its smallest size."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.tables import render
from docs.learn import what_if
from docs.learn.swaps import PAPER, VARIANTS, MultiHeadAttention, Scored, swap
from transformer.config import ModelConfig
from transformer.model import Transformer

TINY = ModelConfig(vocab_size=20, d_model=8, n_layers=2, n_heads=2, d_ff=12, dropout=0.0, max_len=16)
SRC, TGT = torch.tensor([[5, 6, 7, 8, 3, 0], [9, 10, 11, 12, 13, 3]]), torch.tensor([[2, 14, 15, 16], [2, 17, 18, 19]])


def make(name: str = PAPER) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TINY)
    VARIANTS[name].swap(model)
    return model.eval()


def logits(model: Transformer, src: Tensor = SRC, tgt: Tensor = TGT) -> Tensor:
    return model(src, src != 0, tgt).detach()


def with_token(ids: Tensor, column: int) -> Tensor:
    changed = ids.clone()
    changed[:, column] = 4
    return changed


def test_scored_equals_attention_of_library() -> None:
    model = make()
    expected = logits(model)
    swap(model, MultiHeadAttention, Scored)
    torch.testing.assert_close(logits(model), expected)
    assert torch.allclose(model.encoder.blocks[0].self_attention.seen_BHLM.sum(-1), torch.tensor(1.0))


def test_negated_products_equal_negated_queries() -> None:
    """The sign of the product is no restriction: W^Q can have the other sign."""
    model = make()
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.query.weight.data.neg_()
            module.query.bias.data.neg_()
    torch.testing.assert_close(logits(make("negated products")), logits(model))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in (PAPER, "one head", "no warm-up")])
def test_swap_changes_logits(name: str) -> None:
    assert not torch.allclose(logits(make(name)), logits(make()), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "sees"), [(PAPER, False), ("no mask", True), ("mask turned round", True), ("blind encoder", False)]
)
def test_decoder_sees_future_only_without_mask(name: str, sees: bool) -> None:
    model = make(name)
    before, after = logits(model)[:, 0], logits(model, tgt=with_token(TGT, 3))[:, 0]
    assert torch.allclose(before, after) != sees


@pytest.mark.parametrize(
    ("name", "sees"), [(PAPER, True), ("no mask", True), ("mask turned round", False), ("blind encoder", False)]
)
def test_encoder_is_blind_to_future_if_swapped(name: str, sees: bool) -> None:
    model = make(name)
    before, after = (model.encode(ids, ids != 0)[:, 0] for ids in (SRC, with_token(SRC, 2)))
    assert torch.allclose(before, after) != sees


def test_encoder_without_positions_permutes_with_source() -> None:
    for name, same in ((PAPER, False), ("no positions", True), ("positions in layer 1", False)):
        model = make(name)
        first, second = (model.encode(ids, ids != 0)[1] for ids in (SRC, SRC.flip(1)))
        assert torch.allclose(first.flip(0), second, atol=1e-5) == same


def test_positions_in_layer_1_reach_only_attention() -> None:
    model = make("positions in layer 1")
    for stack in (model.encoder, model.decoder):
        stack.blocks[0].self_attention.out.weight.data.zero_()
    first, second = (model.encode(ids, ids != 0)[1] for ids in (SRC, SRC.flip(1)))
    torch.testing.assert_close(first.flip(0), second)


def test_decoder_without_cross_attention_ignores_source() -> None:
    assert torch.equal(logits(make("no cross-attention")), logits(make("no cross-attention"), with_token(SRC, 0)))


def test_settings_of_variants_exist() -> None:
    for variant in VARIANTS.values():
        assert set(variant.model) <= set(vars(what_if.CONFIG.model))
        assert set(variant.schedule) <= set(vars(what_if.CONFIG.schedule))


def test_what_if_trains_and_makes_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (PAPER, "no mask", "additive attention")
    monkeypatch.setattr(what_if, "VARIANTS", {name: VARIANTS[name] for name in names})
    monkeypatch.setattr(what_if, "PICTURED", (PAPER,))
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["x", "--smoke-test", "--seeds", "1", "--words", "2000", *places])
    what_if.main()
    result = json.loads((tmp_path / "out/what_if.json").read_text())
    paper, no_mask, additive = (row["runs"][0] for row in result["rows"])
    assert additive["parameters"] - paper["parameters"] == 3 * 16, "a vector v for each of three attentions"
    assert list(paper["swapped_later"]) == ["no mask"]
    assert no_mask["curve"][-1]["step"] == what_if.EVERY
    assert f"| {PAPER} | nothing | {paper['bleu']:.1f}" in render(result["tables"]["what_if"])
    monkeypatch.setattr(what_if, "train", None)  # a finished run is not repeated
    what_if.main()
