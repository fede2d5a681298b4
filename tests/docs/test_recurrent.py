"""The models and texts of docs/learn/recurrent.md, and its script at the smallest size."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.tables import render
from docs.learn import recurrent
from docs.learn.pronoun_texts import make_texts
from docs.learn.recurrent_models import GruTranslator, LstmTranslator, fitting, longest_chain
from transformer.config import ModelConfig
from transformer.model import Transformer, count_parameters

SRC, TGT = torch.tensor([[5, 6, 7, 8, 3, 0, 0], [9, 10, 11, 12, 13, 14, 3]]), torch.tensor([[2, 5, 6], [2, 7, 8]])


def make(kind: Any) -> Any:
    torch.manual_seed(0)
    return kind(vocab_size=20, d_model=6, width=8).eval()


@pytest.mark.parametrize("kind", [GruTranslator, LstmTranslator])
def test_steps_equal_forward(kind: Any) -> None:
    model = make(kind)
    expected = model(SRC, SRC != 0, TGT)
    state = model.start(SRC, SRC != 0, 3)
    for position in range(TGT.size(1)):
        torch.testing.assert_close(model.step(TGT[:, position], state), expected[:, position])


@pytest.mark.parametrize("kind", [GruTranslator, LstmTranslator])
def test_padding_does_not_change_logits(kind: Any) -> None:
    model, alone = make(kind), SRC[:1, :5]
    torch.testing.assert_close(model(alone, alone != 0, TGT[:1]), model(SRC, SRC != 0, TGT)[:1])


def test_longest_chain_grows_with_length_only_in_recurrent_models() -> None:
    models = {name: make(kind) for name, kind in (("gru", GruTranslator), ("lstm", LstmTranslator))}
    models["transformer"] = Transformer(
        ModelConfig(vocab_size=20, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_len=32)
    )
    chains = {
        name: [longest_chain(recurrent.loss_of(model, torch.ones(2, n, dtype=torch.long))) for n in (4, 8, 16)]
        for name, model in models.items()
    }
    assert len(set(chains["transformer"])) == 1
    for name in ("gru", "lstm"):
        first, second, third = chains[name]
        assert third - second == 2 * (second - first) > 0


def test_fitting_finds_largest_width() -> None:
    def size(width: int) -> int:
        return count_parameters(GruTranslator(20, 6, width))

    assert fitting(lambda width: GruTranslator(20, 6, width), size(14) + 1) == 14


def test_texts_have_distance_and_one_correct_candidate() -> None:
    near, far = make_texts(20, 0, "test"), make_texts(20, 3, "test")
    assert all(len(set(text.candidates)) == 3 for text in near + far)
    assert all(text.source.count(".") + text.source.count("?") == text.between + 2 for text in near + far)
    assert max(text.distance for text in near) < min(text.distance for text in far)
    assert {text.gender for text in near + far} == {0, 1, 2}
    assert make_texts(20, 3, "test") == far


def test_recurrent_runs_and_makes_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--seeds", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["x", "--smoke-test", *places])
    recurrent.main()
    result = json.loads((tmp_path / "out/recurrent.json").read_text())
    sizes = [row["parameters"] for row in result["rows"]]
    assert max(sizes) < 1.1 * min(sizes)
    assert all(len(row["runs"][0]["chosen"]) == len(recurrent.TESTED) for row in result["rows"])
    for name in recurrent.MODELS:
        assert f"| {name} | " in render(result["tables"]["recurrent_quality"])
    monkeypatch.setattr(recurrent, "train", None)  # a finished run is not repeated
    recurrent.main()
