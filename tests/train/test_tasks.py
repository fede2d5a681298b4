"""Measures of training: BLEU of validation sentences."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_pipeline.config import DataConfig
from train import tasks


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
