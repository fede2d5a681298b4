"""Comparison of recipes with several seeds."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from sacrebleu.metrics import BLEU

from benchmarks import tiny_recipes
from benchmarks.run_folders import write_corpus
from benchmarks.tiny_recipes import RECIPES, SMOKE_TEST, compare, make_tables, settings
from common.settings import load_settings
from evaluate.evaluation import ReportOptions, evaluate_model
from evaluate.metrics.paired_seeds import mean_bleu, p_value, sentence_statistics
from evaluate.test_sets import Selection
from train import loop
from train.config import RunConfig
from transformer.model import build, count_parameters

DATA = ("train.en", "train.de", "valid.en", "valid.de")
WORDS = np.array([f"w{i}" for i in range(30)])


def translate(references: list[str], errors: float, seed: int) -> list[str]:
    """Return the references with a share of wrong words."""
    r = np.random.default_rng(seed)
    return [" ".join("x" if r.random() < errors else word for word in line.split()) for line in references]


@pytest.fixture(scope="module")
def references() -> list[str]:
    return [" ".join(np.random.default_rng(i).choice(WORDS, 12)) for i in range(100)]


def test_mean_bleu_equals_sacrebleu(references: list[str]) -> None:
    systems = [translate(references, 0.2, seed) for seed in (1, 2)]
    systems[0][0] = ""
    scores = [BLEU().corpus_score(system, [references]).score for system in systems]
    sums = np.stack([sentence_statistics(system, references).sum(axis=0) for system in systems])
    assert mean_bleu(sums) == pytest.approx(sum(scores) / 2)


def test_p_value_is_small_only_for_better_recipe(references: list[str]) -> None:
    def models(errors: float, *seeds: int) -> list[np.ndarray]:
        return [sentence_statistics(translate(references, errors, seed), references) for seed in seeds]

    base = models(0.2, 1, 2, 3)
    assert p_value(models(0.12, 4, 5, 6), base, trials=300) < 0.01
    assert p_value(models(0.2, 7, 8, 9), base, trials=300) > 0.05
    assert p_value(base, base, trials=20) == 1.0


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid_settings_of_at_most_2_6_million_parameters(name: str) -> None:
    config = load_settings(RunConfig, None, [*settings(name, 2, 4000, 2, DATA), "model.vocab_size=8000"])
    assert (config.train.seed, config.train.max_steps, config.checkpoints.every) == (2, 4000, 100)
    assert count_parameters(build(config.model)) <= 2_600_000


def run_here(command: Sequence[str], _: Path) -> None:
    """Run a training or evaluation command in this process, which saves the time of imports."""
    AcceleratorState._reset_state(reset_partial_state=True)
    if command[1] == "train/train.py":
        config = load_settings(RunConfig, None, list(command[2:]))
        loop.train(config, Path(str(config.run_dir)))
        return
    options = dict(pairwise(command[2:]))
    selection = Selection(Path(options["--source"]), (Path(options["--reference"]),))
    evaluate_model(
        [options["--model"]], selection, lambda decode: decode, options=ReportOptions(json=options["--json"])
    )


def test_compare_trains_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    data = [str(tmp_path / name) for name in DATA]
    jobs, runs = [(1, "base"), (1, "Muon 4e-3")], tmp_path / "runs"
    monkeypatch.setattr(tiny_recipes, "start", run_here)
    *_, recipes = compare(jobs, 8, 0.0, 1, runs, tmp_path / "cache", data, SMOKE_TEST)
    monkeypatch.setattr(tiny_recipes, "start", lambda *_: pytest.fail("a finished run started again"))
    *_, again = compare(jobs, 8, 0.0, 1, runs, tmp_path / "cache", data, SMOKE_TEST)
    assert again == recipes
    assert recipes["Muon 4e-3"]["runs"][0]["updates"] == 8
    assert recipes["Muon 4e-3"]["p"] > 0


def test_table_of_tiny_recipes_has_row_for_each_recipe() -> None:
    run: dict[str, Any] = {"seed": 1, "parameters": 2_349_568, "updates": 4000, "minutes": 50.0, "valid_loss": 1.5}
    run |= {"updates_to_target": 3000, "bleu": 39.0, "bleu_lowercase": 39.5}
    run |= {"signature": "s", "signature_lowercase": "l"}
    other = [run | {"bleu": 40.0}, run | {"seed": 2, "bleu": 41.0, "updates_to_target": None}]
    recipes = {
        "base": {"changes": [], "p": None, "runs": [run]},
        "Muon": {"changes": ["a=1"], "p": 0.01, "runs": other},
    }
    result = json.loads(json.dumps({"base": ["b=2"], "target": 36.0, "recipes": recipes}))
    (table,) = make_tables(result)["tiny_recipes"]
    assert table["rows"] == [
        ["base", "2,349,568", "4,000", "50.0", "1", "1.500", "39.0", "39.5", "", "", "3,000"],
        ["Muon", "2,349,568", "4,000", "50.0", "1, 2", "1.500", "40.5 (40.0 to 41.0)", "39.5 (39.5 to 39.5)", "+1.50",
         "0.010", ""],
    ]  # fmt: skip
    assert table["note"] == "BLEU: `s`; lower-cased: `l`."
