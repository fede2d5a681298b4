"""The models and texts of docs/learn/recurrent.md, and its script at the smallest size."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch

from benchmarks.pictures import digest
from benchmarks.tables import read_results, render
from docs.learn import recurrent
from docs.learn.pronoun_texts import make_texts
from docs.learn.recurrent import GRU, LSTM, TRANSFORMER
from docs.learn.recurrent_models import GruTranslator, LstmTranslator, fitting, longest_chain
from docs.learn.recurrent_picture import PICTURE, figures
from transformer.config import ModelConfig
from transformer.model import Transformer, count_parameters

RESULT = read_results()["recurrent"]
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


def test_statements_of_page_follow_from_result() -> None:
    speed, last = RESULT["speed"], len(recurrent.LENGTHS) - 1
    times = {
        kind: {name: [own[name]["transformer_is_times_as_fast"][0] for own in speed[kind]] for name in recurrent.MODELS}
        for kind in ("training", "decoding")
    }
    assert times["training"][GRU][0] < 1 < times["training"][GRU][last]
    assert min(times["training"][LSTM][1:]) > 1
    assert times["training"][LSTM][last] > 3
    assert max(times["decoding"][GRU]) < 0.6
    assert times["decoding"][GRU][last] < 0.4
    chains = {name: [own[name] for own in speed["chain"]] for name in recurrent.MODELS}
    assert len(set(chains[TRANSFORMER])) == 1
    for name in (GRU, LSTM):
        assert all(1.8 < b / a < 2.05 for a, b in pairwise(chains[name]))

    curves = {row["model"]: [run["curve"] for run in row["runs"]] for row in RESULT["rows"]}
    assert all(len(own) == 3 for own in curves.values())
    final = {name: [curve[-1] for curve in own] for name, own in curves.items()}
    assert max(p["valid_loss"] for p in final[LSTM]) < min(p["valid_loss"] for p in final[TRANSFORMER])
    assert min(p["bleu"] for p in final[LSTM]) > max(p["bleu"] for p in final[TRANSFORMER])
    assert max(p["bleu"] for p in final[GRU]) < min(p["bleu"] for p in final[TRANSFORMER])
    assert seconds(final[LSTM]) > 2 * seconds(final[TRANSFORMER])
    half = [curve[len(curve) // 2 - 1] for curve in curves[LSTM]]
    assert seconds(half) > seconds(final[TRANSFORMER])
    assert min(p["valid_loss"] for p in half) > max(p["valid_loss"] for p in final[TRANSFORMER])
    losses = {name: mean(p["valid_loss"] for p in points) for name, points in final.items()}
    assert losses[GRU] == pytest.approx(losses[TRANSFORMER], rel=0.1)
    assert all(
        a["valid_loss"] > b["valid_loss"] for own in curves.values() for curve in own for a, b in pairwise(curve)
    )

    right = {row["model"]: [mean(run["chosen"][n] for run in row["runs"]) for n in recurrent.TESTED]
             for row in RESULT["rows"]}  # fmt: skip
    assert min(right[TRANSFORMER]) >= 0.75
    assert max(right[TRANSFORMER]) - min(right[TRANSFORMER]) < 0.2
    assert right[LSTM][0] > 0.6
    assert all(a > b for a, b in pairwise(right[LSTM][:4]))
    assert max(right[LSTM][3:]) < 0.42
    assert all(0.2 < share < 0.5 for share in right[GRU])


def seconds(points: list[dict[str, Any]]) -> float:
    return mean(point["seconds"] for point in points)


def test_picture_shows_result() -> None:
    content = PICTURE.read_bytes()
    found = re.search(rb"tEXtSource\x00([0-9a-f]{64})", content)
    assert found is not None
    assert found[1].decode() == digest(figures(RESULT)), "run python -m docs.learn.recurrent_picture"
    assert len(content) < 100_000
