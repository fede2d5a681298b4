"""The page docs/learn/it.md: heads are measured and switched off as it says."""

from pathlib import Path

import pytest
import torch

from benchmarks.pictures import digest
from benchmarks.runner import ROOT
from benchmarks.tables import read_results
from docs.learn.it import (
    CROSS,
    ENCODER,
    Case,
    baselines,
    figures,
    find_cases,
    heads_off,
    make_case,
    make_tables,
    measure,
    strongest,
    words_of,
)
from evaluate.config import DecodeConfig
from evaluate.metrics.pronouns import Referent, find_referent
from evaluate.translator import Translator
from tests.tiny_model import load_translator, make_folder
from transformer.model import Transformer

CASE = Case(
    "The pizza came out of the oven and it tasted good.",
    "Die Pizza kam aus dem Ofen und sie schmeckte gut.",
    it=8,
    noun=1,
    pronoun="sie",
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Transformer]:
    folder = make_folder(tmp_path_factory.mktemp("model"), max_len=80)
    return load_translator(folder, DecodeConfig(beam=1, max_extra=0))


def test_referent_of_it_is_found() -> None:
    assert make_case(CASE.source, CASE.reference) == CASE
    assert find_referent(CASE.source) == Referent(it=8, noun=1, form="sie")
    assert make_case("They came out of the oven.", "Sie kamen aus dem Ofen.") is None
    cases = find_cases(200)
    assert len(cases) > 5
    assert all(words_of(case.source)[case.it] == "it" for case in cases)


def test_strongest_finds_the_word_with_the_largest_weight(loaded: tuple[Translator, Transformer]) -> None:
    translator, model = loaded
    with torch.no_grad():  # all weights of a query of zeros are equal: the word with most subwords wins
        for stack, kind in ((model.encoder, "self_attention"), (model.decoder, "cross_attention")):
            query = stack.get_submodule(f"blocks.0.{kind}.query")
            saved = {name: value.clone() for name, value in query.state_dict().items()}
            for parameter in query.parameters():
                parameter.zero_()
            found = strongest(translator, CASE)[ENCODER if kind == "self_attention" else CROSS]
            query.load_state_dict(saved)
            subwords = [len(translator.tokenizer.encode([word])[0]) for word in CASE.source[:-1].split()]
            assert found.tolist() == [[subwords.index(max(subwords))] * 2]


def test_heads_off_removes_one_head_and_restores_it(loaded: tuple[Translator, Transformer]) -> None:
    attention = loaded[1].get_submodule("encoder.blocks.0.self_attention")
    x_BLD = torch.randn(1, 5, 16, dtype=torch.float64)
    before = attention(x_BLD)
    with heads_off(loaded[1], [(ENCODER, 0, 1)]):
        without = attention(x_BLD)
    assert torch.equal(attention(x_BLD), before)
    weights_HLM = attention.weights(x_BLD)[0]
    v_LK = attention.value(x_BLD)[0, :, :8]
    expected = torch.nn.functional.linear(weights_HLM[0] @ v_LK, attention.out.weight[:, :8], attention.out.bias)
    torch.testing.assert_close(without[0], expected)


def test_measure_gives_each_head_and_fills_the_tables(loaded: tuple[Translator, Transformer]) -> None:
    model = {"seed": 1, **measure(loaded[0], [CASE])}
    assert [(head["kind"], head["head"]) for head in model["heads"]] == [
        (ENCODER, 1),
        (ENCODER, 2),
        (CROSS, 1),
        (CROSS, 2),
    ]
    assert len(model["carriers"]["heads"]) == len(model["others"]["heads"]) == 1
    machine = {"gpu": None, "cpu": "x", "cores": 2, "versions": {"torch": "2"}}
    result = {"command": "c", "machine": machine, **baselines([CASE]), "models": [model]}
    assert result["chance"] == 1 / 13
    assert result["fixed_place"] == 1
    assert set(make_tables(result)) == {"it_chance", "it_noun", "it_off", "it_groups"}
    assert len(figures(result)["models"][0]["heads"]) == 4


def test_picture_shows_the_result() -> None:
    text = (ROOT / "docs" / "learn" / "it.png").read_bytes()
    assert digest(figures(read_results()["it"])).encode() in text, "run python -m docs.learn.it"


def test_page_exists() -> None:
    assert Path(ROOT / "docs" / "learn" / "it.md").is_file()
