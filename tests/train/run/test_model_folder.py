"""The model folder of a run."""

from pathlib import Path

from common.settings import load_settings
from train.config import RunConfig
from train.run.model_folder import describe_run

VALIDATION = '{"step": 3, "valid_loss": 2.5, "valid_bleu": 10.0}\n{"step": 4, "loss": 1.0}\n'


def test_model_card_has_training_data_and_last_validation_without_local_paths(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(VALIDATION, encoding="utf-8")
    (tmp_path / "paper_comparison.md").write_text("## Comparison\n", encoding="utf-8")
    config = load_settings(RunConfig, None, [f"data.train=[{tmp_path}/my.en,{tmp_path}/my.de]", "data.target_lang=fr"])
    card = describe_run(config, 1234, "the weights after update 4", tmp_path)
    assert "# Transformer, en to fr\n" in card
    assert "on `[my.en, my.de]`" in card
    assert "after update 3" in card
    assert "| valid_loss | 2.5000 |" in card
    assert card.endswith("## Comparison\n")
    assert str(tmp_path) not in card


def test_model_card_without_validation_has_no_table(tmp_path: Path) -> None:
    assert "measure" not in describe_run(RunConfig(), 1234, "the weights after update 4", tmp_path)
