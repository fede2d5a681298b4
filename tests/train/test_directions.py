"""Training on several directions: the same curve when resumed, a figure for each direction, what cannot be done."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from common.errors import InputError
from common.settings import load_settings
from evaluate.translator import Translator
from tests.conftest import make_pairs, write_parallel
from train import loop
from train.config import RunConfig
from train.distillation import find_side
from train.doctor.examine import pair_findings
from train.run.report import write_report
from train.size import choose_size
from train.suggestion import make_suggestion

SETTINGS = [
    "model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=32", "data.vocab_size=340",
    "data.sampling_temperature=4", "batches.tokens_per_update=1600", "batches.per_update=2",
    "schedule.warmup_steps=30", "train.max_steps=6", "train.log_every=1", "validation.every=3",
    "validation.bleu_sentences=3", "checkpoints.every=3", "train.log_with=none", "train.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, pairs = tmp_path_factory.mktemp("corpora"), make_pairs(330)
    files = {"en-de": write_parallel(folder, "a", pairs[:300]), "de-en": write_parallel(folder, "b", pairs[300:])[::-1]}
    return [f"data.train.{name}=[{','.join(own)}]" for name, own in files.items()]


@pytest.fixture(scope="module")
def config(corpora: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    cache = f"data.cache_dir={tmp_path_factory.mktemp('cache')}"
    return load_settings(RunConfig, None, [*corpora, *SETTINGS, cache])


def train(config: RunConfig, folder: Path) -> list[dict]:
    AcceleratorState._reset_state(reset_partial_state=True)
    loop.train(config, folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(config, folder)
    return folder


def test_resumed_run_has_same_curve(config: RunConfig, finished: Path, tmp_path: Path) -> None:
    schedule = replace(config.schedule, decay_steps=6)
    half = replace(config, train=replace(config.train, max_steps=3), schedule=schedule)
    train(half, tmp_path / "run")
    resumed = train(replace(config, schedule=schedule), tmp_path / "run")
    expected = (finished / "metrics.jsonl").read_text().splitlines()
    assert resumed == [json.loads(line) for line in expected]


def test_validation_has_bleu_of_each_direction_and_their_mean(finished: Path) -> None:
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    scores = [last[name] for name in ("valid_bleu_en_de", "valid_bleu_de_en")]
    assert last["valid_bleu"] == pytest.approx(sum(scores) / 2, abs=0.011)
    write_report(finished)
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Translation from en to de and de to en" in page
    assert "BLEU en de" in page


def test_model_folder_has_directions_and_card_chooses_one(finished: Path) -> None:
    about = json.loads((finished / "config.json").read_text())
    assert about["directions"] == ["en-de", "de-en"]
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "# Transformer, en to de and de to en" in card
    assert '--from en --to de "A sentence."' in card
    assert 'source_lang="en", target_lang="de")(["A sentence."])' in card
    assert "on `en-de: [a.en, a.de], de-en: [b.de, b.en]`" in card
    assert len(Translator.from_pretrained(finished, source_lang="de")(["eins zwei."])) == 1


def test_doctor_checks_each_direction(config: RunConfig) -> None:
    found = list(pair_findings(config))
    columns = [finding for finding in found if finding.name == "columns"]
    assert [finding.message.split(":")[0] for finding in columns] == ["en-de", "de-en"]
    assert all(finding.level != "error" for finding in columns)


def test_size_auto_counts_pairs_of_all_directions(config: RunConfig, corpora: list[str]) -> None:
    cache = f"data.cache_dir={config.data.cache_dir}"

    def load(chosen: dict) -> RunConfig:
        return load_settings(RunConfig, None, [*corpora, cache, "train.threads=1"], chosen)

    assert choose_size(load).pairs == 330 - 300 // 20 - 1


def test_commands_for_one_direction_refuse_several(config: RunConfig, corpora: list[str], finished: Path) -> None:
    translator = Translator.from_pretrained(finished, source_lang="de")
    with pytest.raises(InputError, match=r"train\.suggest is for one direction"):
        make_suggestion([], [*corpora, f"data.cache_dir={config.data.cache_dir}", *SETTINGS[:4]], None)
    with pytest.raises(InputError, match="distillation is for one"):
        find_side(translator, config.data)
