"""The swaps of docs/learn/what-if.md change what they say, and the script runs at its smallest size."""

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.pictures import digest
from benchmarks.tables import read_results, render
from docs.learn import what_if
from docs.learn.swaps import PAPER, VARIANTS, MultiHeadAttention, Scored, swap
from docs.learn.what_if_pictures import figures_of_attention, figures_of_curves
from transformer.config import ModelConfig
from transformer.model import Transformer

FOLDER = Path(what_if.__file__).parent
RESULT = read_results()["what_if"]
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
    monkeypatch.setattr(what_if, "ALIKE", (PAPER,))
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


LOST = ("no residual", "no warm-up")
"""Variants whose model learns almost nothing."""


def test_page_shows_code_of_swaps() -> None:
    page = (FOLDER / "what-if.md").read_text(encoding="utf-8")
    code = (FOLDER / "swaps.py").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        assert block in code, block
    headings = {line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("###")}
    assert headings == {name.lower() for name in VARIANTS if name != PAPER}


def test_statements_of_page_follow_from_result() -> None:
    rows = {row["variant"]: row["runs"] for row in RESULT["rows"]}
    score = {name: [run["bleu"] for run in runs] for name, runs in rows.items()}
    loss = {name: [run["curve"][-1]["valid_loss"] for run in runs] for name, runs in rows.items()}
    later = {name: [run["swapped_later"].get(name, 100.0) for run in rows[PAPER]] for name in rows}
    sharp = {name: [run["largest_weight"] for run in rows[name]] for name in what_if.SCORES}
    before, after = ({name: mean(own[i] for own in runs) for name, runs in sharp.items()} for i in (0, 1))
    assert all(len(runs) == 3 for runs in rows.values())

    assert mean(score["squared products"]) == pytest.approx(mean(score[PAPER]) / 3, rel=0.2)
    assert before["squared products"] > 1.5 * before[PAPER]
    assert before["no √d_k"] == pytest.approx(before["squared products"], rel=0.1)
    assert min(score["no √d_k"]) > max(score["squared products"])
    assert max(later["squared products"]) < 5
    assert overlap(score["negated products"], score[PAPER])
    assert overlap(loss["negated products"], loss[PAPER])
    assert max(later["negated products"]) < 1
    assert 0.5 <= mean(score["no √d_k"]) / mean(score[PAPER]) < 0.65
    assert min(later["no √d_k"]) > 30
    assert max(score["additive attention"]) < min(score[PAPER])
    assert seconds(rows["additive attention"]) > 2 * seconds(rows[PAPER])
    assert after["additive attention"] < 0.25 < 0.45 < after[PAPER]
    assert overlap(score["one head"], score[PAPER])
    assert mean(score["one head"]) < mean(score[PAPER])

    for name in ("no mask", "mask turned round"):
        assert max(score[name]) < 1
        assert mean(loss[name]) < mean(loss[PAPER]) / 3
        assert max(loss[name]) < min(own for other, values in loss.items() if "mask" not in other for own in values)
        assert min(later[name]) > 40
    assert overlap(score["blind encoder"], score[PAPER])
    assert mean(score["blind encoder"]) > mean(score[PAPER])
    assert max(later["blind encoder"]) < min(score["blind encoder"])

    assert max(score["no positions"]) < min(score[PAPER])
    assert min(score["no positions"]) > 0.75 * mean(score[PAPER])
    assert max(later["no positions"]) < 0.65 * min(score["no positions"])
    assert overlap(score["positions in layer 1"], score[PAPER])
    assert max(score["no residual"]) < 1
    assert min(loss["no residual"]) > max(own for name in loss if name not in LOST for own in loss[name])
    assert min(RESULT["similarity"]["no residual"]) > 0.99 > 0.7 > max(RESULT["similarity"][PAPER])
    assert max(score["no layer norm"]) < min(score[PAPER])
    assert min(loss["no layer norm"]) > max(loss[PAPER])
    assert max(later["no layer norm"]) < 5
    assert max(score["no cross-attention"]) < 1
    assert max(loss[PAPER]) < min(loss["no cross-attention"]) < min(loss["no residual"])
    assert len({text for _, _, text in rows["no cross-attention"][0]["examples"]}) == 1
    assert max(later["no cross-attention"]) < 1
    assert max(score["no warm-up"]) < 1
    assert min(loss["no warm-up"]) > 5


def overlap(first: list[float], second: list[float]) -> bool:
    return min(first) <= max(second) and min(second) <= max(first)


def seconds(runs: list[dict[str, Any]]) -> float:
    return mean(run["curve"][-1]["seconds"] for run in runs)


@pytest.mark.parametrize(
    ("picture", "figures"), [("what-if", figures_of_curves), ("what-if-attention", figures_of_attention)]
)
def test_pictures_show_result(picture: str, figures: Any) -> None:
    content = (FOLDER / "pictures" / f"{picture}.png").read_bytes()
    found = re.search(rb"tEXtSource\x00([0-9a-f]{64})", content)
    assert found is not None
    assert found[1].decode() == digest(figures(RESULT)), "run python -m docs.learn.what_if_pictures"
    assert len(content) < 100_000
