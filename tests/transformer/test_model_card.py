"""The model card."""

from pathlib import Path

import pytest
import yaml

from transformer.config import ModelConfig
from transformer.model_card import model_card, public_name


@pytest.mark.parametrize(("architecture", "tag"), [("transformer", "translation"), ("gpt", "text-generation")])
def test_model_card_starts_with_settings_of_hub(architecture: str, tag: str) -> None:
    config = ModelConfig(architecture=architecture)  # type: ignore[arg-type]
    _, front, text = model_card("Title", config, 1234, "From here.", ["## More\n"], ["en", "no"]).split("---\n", 2)
    about = {"library_name": "paper-transformer", "pipeline_tag": tag, "language": ["en", "no"]}
    assert yaml.safe_load(front) == about
    assert text.startswith("\n# Title\n\n")
    assert "1,234 parameters" in text
    assert text.endswith("\n\n## More\n")


def test_public_name_leaves_out_local_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tsv").touch()
    names = ["/home/me/secret/a.tsv", "data/a.tsv", "~/texts/*.txt", "wmt/wmt14:de-en:train", "grammar:test"]
    assert [public_name(name) for name in names] == ["a.tsv", "a.tsv", "*.txt", "wmt/wmt14:de-en:train", "grammar:test"]
