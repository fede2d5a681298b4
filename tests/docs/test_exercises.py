"""The scripts of docs/exercises that train run on a short text and write their results."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.language import collect, make_table
from benchmarks.runner import RESULTS
from benchmarks.tables import render
from common.settings import dump_settings
from docs.exercises import arithmetic, finetuning, runs, variations
from train.config import RunConfig

TINY = [
    "model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_ff=24", "model.max_len=16",
    "batches.tokens_per_update=64", "train.max_steps=2", "schedule.warmup_steps=1", "validation.every=1",
    "checkpoints.every=1", "train.log_every=1", "train.log_with=none", "validation.sample_tokens=0", "train.threads=1",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "small.txt").write_text("the cat sat on the mat and the dog on the log\n" * 20)
    (tmp_path / "large.txt").write_text("a quick brown fox jumps over a lazy dog\n" * 60)
    return tmp_path


def run(module: object, arguments: list[str], text: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Call the main of a script and return the result that it writes."""
    out = text / "out"
    places = ["--runs", str(text / "runs"), "--out", str(out), "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["x", *places, *arguments])
    module.main()  # type: ignore[attr-defined]
    (file,) = out.iterdir()
    return json.loads(file.read_text())


def test_variations_differ_from_recipe_in_their_settings(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["nanoGPT's recipe", "2 groups of queries"]
    monkeypatch.setitem(variations.VARIATIONS, names[1], ("model.n_kv_heads=1",))
    places = [f"data.cache_dir={text / 'cache'}"]
    only = [word for name in names for word in ("--only", name)]
    result = run(variations, [str(text / "small.txt"), *only, *TINY, *places], text, monkeypatch)
    first, second = result["rows"]
    assert first["parameters"] - second["parameters"] == 2 * (16 * 8 + 8), "keys and values of one head are gone"
    metrics = (text / "runs/nanoGPT-s-recipe-1/metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in metrics if "valid_loss" in line][-1]
    assert first["valid_loss"]["seeds"] == [last["valid_loss"]]
    assert "| 2 groups of queries | " in render(result["tables"]["variations"])
    assert f"| gpt_shakespeare_char | 1 | {last['valid_loss']:.4f} |" in render(result["tables"]["language"])


def test_finetuning_starts_from_run_on_large_text(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ["--steps", "2", "--tuning-steps", "1", "--tuning-rate", "0.01"]
    places = [f"data.cache_dir={text / 'cache'}"]
    files = [str(text / "large.txt"), str(text / "small.txt")]
    tiny = [setting for setting in TINY if "max_steps" not in setting]
    result = run(finetuning, [*files, *steps, *tiny, *places], text, monkeypatch)
    kinds = [row["training"] for row in result["rows"]]
    assert len(kinds) == len(set(kinds)) == 5
    tuned = (text / "runs/tuned-0.01-1/config.yaml").read_text()
    assert f"init_from: {text / 'runs/large-1'}" in tuned
    assert "then 1 at 0.01" in render(result["tables"]["finetuning"])


def test_train_fails_if_training_command_fails(text: Path) -> None:
    with pytest.raises(ValueError, match="the command above ended with status 2"):
        runs.train(text / "run", "gpt_shakespeare_char", "data.train=nowhere.txt")


def test_collect_rejects_runs_that_differ_in_more_than_seed(text: Path) -> None:
    shared = [f"data.train={text / 'small.txt'}", f"data.cache_dir={text / 'cache'}", *TINY]
    for name, override in (("a", "train.seed=1"), ("b", "train.seed=2"), ("c", "model.dropout=0.1")):
        runs.train(text / name, "gpt_shakespeare_char", *shared, override)
    result = collect([text / "a", text / "b"])
    losses = [run["valid_loss"] for run in result["runs"]]
    assert result["valid_loss_mean"] == pytest.approx(sum(losses) / 2)
    machine = {"gpu": None, "cpu": "a CPU", "cores": 1, "versions": {"torch": "2"}}
    assert "| x | mean | " in render([make_table(result | {"machine": machine}, "x")])
    with pytest.raises(ValueError, match=r"differ in more than the seed: model\.dropout"):
        collect([text / "a", text / "c"])


def test_collect_rejects_run_of_translation(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_settings(RunConfig()))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "valid_loss": 2.0}\n')
    with pytest.raises(ValueError, match="not the finished run of a language model"):
        collect([tmp_path])


@pytest.mark.parametrize("module", [arithmetic, finetuning, variations])
def test_exercise_does_not_write_to_committed_results_by_default(module: object) -> None:
    assert runs.OUT.resolve() not in (RESULTS, *RESULTS.parents)
    assert module.OUT is runs.OUT  # type: ignore[attr-defined]


def test_only_does_not_take_overrides(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [f"data.cache_dir={text / 'cache'}"]
    arguments = ["--only", "RMSNorm", str(text / "small.txt"), *TINY, *places]
    result = run(variations, arguments, text, monkeypatch)
    assert [row["variation"] for row in result["rows"]] == ["RMSNorm"]
    assert result["overrides"] == [*TINY, *places]
    assert "language" not in result["tables"], "the unchanged recipe was not trained"
