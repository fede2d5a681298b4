"""Measures of training: BLEU and F1 of validation sentences."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.trees import delinearise, number_tokens, number_words
from evaluate.config import DecodeConfig
from tests.tiny_parser import make_parser
from train import tasks
from transformer.pretrained import load_pretrained


@pytest.mark.parametrize(
    ("language", "lines", "references"),
    [
        ("zh", ["我每天早上喝茶。", "火车晚点了两个小时。"], ["我每天早上都喝茶。", "火车晚点了两小时。"]),
        ("de", ["我每天早上喝茶。", "火车晚点了两个小时。"], ["我每天早上都喝茶。", "火车晚点了两小时。"]),
        ("th", ["ฉันดื่มชาทุกเช้า"], ["ฉันดื่มชาทุกๆเช้า"]),
        ("de", ["Die Bibliothek liegt am Bahnhof."], ["Die Bibliothek liegt nah am Bahnhof."]),
    ],
)
def test_valid_bleu_is_not_zero_for_text_without_spaces(
    language: str, lines: list[str], references: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PyTorchBackend", "Tokenizer"):
        monkeypatch.setattr(tasks, name, lambda *_: SimpleNamespace(normalize=str))
    copying = SimpleNamespace(translate=lambda sources, note: [[SimpleNamespace(text=text)] for text in sources])
    monkeypatch.setattr(tasks, "Translator", lambda *_, **__: copying)
    monkeypatch.setattr(tasks, "gather_object", lambda objects: objects)
    config = SimpleNamespace(
        validation=SimpleNamespace(bleu_sentences=5),
        data=DataConfig(target_lang=language),
    )
    prepared = SimpleNamespace(valid_text=lambda: (lines, references), tokenizer_file=None, parts=lambda _: {})
    setup, accelerator = (
        SimpleNamespace(config=config, prepared=prepared),
        SimpleNamespace(process_index=0, num_processes=1),
    )
    found, translations = tasks._measure_bleu(cast(Any, setup), cast(Any, accelerator), cast(Any, None))
    assert found["valid_bleu"] > 20
    assert translations == [*zip(lines, references, lines, strict=True)]


@pytest.mark.parametrize("numbered", [False, True])
def test_valid_f1_is_that_of_trees_and_trees_are_shown_in_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbered: bool
) -> None:
    folder = make_parser(tmp_path / "model", numbered=numbered)
    monkeypatch.setattr(tasks, "gather_object", lambda objects: objects)
    config = SimpleNamespace(
        validation=SimpleNamespace(bleu_sentences=5),
        data=SimpleNamespace(task="translation", target_lang="tree", number_words=numbered, normalize_unicode=True),
        decode=DecodeConfig(max_extra=30),
    )
    source, reference = "The cat sat", "(S (NP =DT =NN )NP (VP =VBD )VP )S"
    gold = delinearise(reference.split(), source.split())
    if numbered:
        source, reference = " ".join(number_words(source.split())), " ".join(number_tokens(reference.split()))
    prepared = SimpleNamespace(
        valid_text=lambda: ([source, source], [reference, reference]), tokenizer_file=folder / "tokenizer.model"
    )
    setup = cast(Any, SimpleNamespace(config=config, prepared=prepared))
    accelerator = cast(Any, SimpleNamespace(process_index=0, num_processes=1))
    found, trees = tasks.measure(setup, accelerator, load_pretrained(folder)[0], 1.0)
    assert 0 <= found["valid_f1"] < 100
    assert trees[0].reference == "(TOP (S (NP (DT The) (NN cat)) (VP (VBD sat))))"
    assert trees[0].text.startswith("(TOP (")
    assert trees[0].source == "The cat sat"
    monkeypatch.setattr(tasks.Parser, "parse", lambda self, sentences: [gold for _ in sentences])
    assert tasks.measure(setup, accelerator, load_pretrained(folder)[0], 1.0)[0] == {"valid_f1": 100.0}
