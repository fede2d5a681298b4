"""configs/wmt14_en_fr.yaml, on Parquet files with the features, splits and names of the Hub's WMT14 French-English."""

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from common.settings import load_settings
from evaluate.test_sets import Selection, find_test_sets
from evaluate.translator import Translator
from tests.conftest import make_pairs
from train import loop
from train.config import RunConfig
from train.run.paper_comparison import compare, nearest_model

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "data.vocab_size=340",
    "batches.tokens_per_update=1600", "batches.per_update=2", "train.max_steps=2", "train.log_with=none",
    "train.threads=1", "validation.bleu_sentences=2",
]  # fmt: skip


def write_french_english(folder: Path) -> None:
    """Write a folder like `wmt/wmt14`, whose configuration is `fr-en`. All pairs are English-German words."""
    from datasets import Dataset, Features, Translation

    features = Features({"translation": Translation(languages=["fr", "en"])})
    (folder / "fr-en").mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        pairs = make_pairs(200 if split == "train" else 10, start=1000 * number)
        rows = [{"en": source, "fr": target} for source, target in pairs]
        dataset = Dataset.from_dict({"translation": rows}, features=features)
        dataset.to_parquet(folder / "fr-en" / f"{split}-00000-of-00001.parquet")
    files = "".join(f"  - split: {split}\n    path: fr-en/{split}-*\n" for split in ("train", "validation", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: fr-en\n  data_files:\n{files}---\n")


def test_wmt14_en_fr_trains_from_english_to_french(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_french_english(tmp_path / "wmt" / "wmt14")
    monkeypatch.chdir(tmp_path)  # a local folder has priority over the Hub
    config = load_settings(RunConfig, ROOT / "configs/wmt14_en_fr.yaml", [*TINY, "data.cache_dir=cache"])
    AcceleratorState._reset_state(reset_partial_state=True)
    loop.train(config, tmp_path / "run")
    translator = Translator.from_pretrained(tmp_path / "run", target_lang="fr")
    assert (translator.source_lang, translator.target_lang) == ("en", "fr")
    (test_set,) = find_test_sets(Selection(), tmp_path / "run")
    assert test_set.languages == ("en", "fr")
    assert test_set.sources == [source for source, _ in make_pairs(10, start=2000)]
    assert test_set.references == [[target for _, target in make_pairs(10, start=2000)]]


def test_wmt14_en_fr_differs_from_paper_only_in_what_differs_always() -> None:
    config = load_settings(RunConfig, ROOT / "configs/wmt14_en_fr.yaml")
    assert nearest_model(config) == "big"
    different = {row.name for row in compare(config, 0) if row.differs}
    assert different == {"attention biases", "training data", "shared vocabulary", "parameters", "BLEU"}
