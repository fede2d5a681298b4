"""The model card."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from common.errors import InputError
from transformer.config import ModelConfig
from transformer.included_models import included_models
from transformer.model_card import Score, complete_card, hub_datasets, model_card, public_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("architecture", "tag"), [("transformer", "translation"), ("gpt", "text-generation")])
def test_model_card_starts_with_settings_of_hub(architecture: str, tag: str) -> None:
    config = ModelConfig(architecture=architecture)  # type: ignore[arg-type]
    card = model_card("Title", config, 1234, "From here.", ["## More\n"], ["en", "no"], ["wmt/wmt14"])
    _, front, text = card.split("---\n", 2)
    about = {"library_name": "paper-transformer", "pipeline_tag": tag, "language": ["en", "no"]}
    about |= {"datasets": ["wmt/wmt14"], "tags": ["attention-is-all-you-need", "pytorch"]}
    assert yaml.safe_load(front) == about
    assert text.startswith("\n# Title\n\n")
    assert "1,234 parameters" in text
    assert text.endswith("\n\n## More\n")


def test_model_card_of_a_parser_names_transformer_parse() -> None:
    card = model_card("Title", ModelConfig(norm="pre"), 1234, "From here.", (), ["en", "tree"])
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "paper-transformer",
        "language": ["en"],
        "tags": ["attention-is-all-you-need", "pytorch", "constituency-parsing"],
    }
    assert "python -m transformer.parse --model" in text
    assert "transformer.translate" not in text
    assert "transformer.convert" not in text


def test_public_name_leaves_out_local_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tsv").touch()
    names = ["/home/me/secret/a.tsv", "data/a.tsv", "~/texts/*.txt", "wmt/wmt14:de-en:train", "grammar:test"]
    assert [public_name(name) for name in names] == ["a.tsv", "a.tsv", "*.txt", "wmt/wmt14:de-en:train", "grammar:test"]


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "--to marian"),
        ({"norm": "pre"}, "--to pegasus"),
        ({"positions": "rotary"}, ""),
        ({"architecture": "gpt"}, ""),
    ],
)
def test_model_card_names_conversion_for_transformers(changes: dict[str, Any], command: str) -> None:
    card = model_card("Title", ModelConfig(**changes), 1234, "From here.")
    assert command in card if command else "transformer.convert" not in card


SCORES = [
    Score("my test", "BLEU", 38.164, "tok:13a"),
    Score("my test", "chrF2", 61.4, "nc:6"),
    Score("b", "BLEU", 2, "x"),
]


def test_complete_card_gives_scores_that_hub_reads() -> None:
    card = complete_card(model_card("Title", ModelConfig(), 1, "Here.", (), ["en", "de"]), "mine", "mit", SCORES)
    data = ModelCard(card).data
    assert (data.model_name, data.license, data.language) == ("mine", "mit", ["en", "de"])
    found = [
        (r.dataset_name, r.dataset_type, r.task_type, r.metric_type, r.metric_value, r.metric_args)
        for r in data.eval_results
    ]
    assert found[:2] == [
        ("my test", "my-test", "translation", "bleu", 38.16, {"signature": "tok:13a"}),
        ("my test", "my-test", "translation", "chrf", 61.4, {"signature": "nc:6"}),
    ]
    assert len(found) == 3
    assert complete_card(card, "mine") == card, "scores and licence stay"


def test_complete_card_adds_settings_to_card_without_any() -> None:
    card = complete_card("# Mine\n", "mine", "mit")
    assert card == "---\ntags:\n- attention-is-all-you-need\n- pytorch\nlicense: mit\n---\n# Mine\n"


@pytest.mark.parametrize("front", ["[", "- a"])
def test_complete_card_rejects_damaged_settings(front: str) -> None:
    with pytest.raises(InputError, match=r"the first lines of README\.md"):
        complete_card(f"---\n{front}\n---\n# Mine\n", "mine")


def test_hub_datasets_lists_names_of_hub_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").touch()
    corpora = [["data/a.en", "data/a.de"], ["wmt/wmt14:de-en", "wmt/wmt14:de-en:test"], "data/mine", "grammar:9"]
    assert hub_datasets(corpora) == ["wmt/wmt14"]


@pytest.mark.skipif(not included_models(), reason="this checkout includes no models")
def test_cards_of_included_models_have_figures_of_their_evaluation() -> None:
    for (source, target), folder in included_models().items():
        card = (folder / "README.md").read_text(encoding="utf-8")
        data = ModelCard(card).data
        assert (data.license, data.pipeline_tag, data.library_name) == ("mit", "translation", "paper-transformer")
        assert data.language == [source, target]
        tests = json.loads((ROOT / f"benchmarks/results/included_{source}_{target}.json").read_text())["tests"]
        bleu = {r.dataset_name: (r.metric_value, r.metric_args) for r in data.eval_results if r.metric_type == "bleu"}
        assert bleu == {name: (own["bleu"], {"signature": own["signature"]}) for name, own in tests.items()}
        assert not re.search(r"(?<![\w.:/])(/|~/)\w+/", card), "a local path"
