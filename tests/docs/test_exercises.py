"""The scripts of docs/exercises that train: on a scrap of text they run to their end and write what they measured."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.language import collect
from docs.exercises import finetuning, runs, variations

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
    """Call a script's main and return the result it writes."""
    written: dict[str, dict] = {}
    monkeypatch.setattr(module, "write_result", written.__setitem__)
    monkeypatch.setattr(sys, "argv", ["x", *arguments, "--runs", str(text / "runs"), "--seeds", "1"])
    module.main()  # type: ignore[attr-defined]
    (result,) = written.values()
    return json.loads(json.dumps(result))


def test_each_variation_is_the_recipe_with_its_settings(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["nanoGPT's recipe", "2 groups of queries"]
    monkeypatch.setitem(variations.VARIATIONS, names[1], ("model.n_kv_heads=1",))
    places = [f"data.cache_dir={text / 'cache'}"]
    result = run(variations, [str(text / "small.txt"), *TINY, *places, "--only", *names], text, monkeypatch)
    first, second = result["rows"]
    assert first["parameters"] - second["parameters"] == 2 * (16 * 8 + 8), "keys and values of one head are gone"
    metrics = (text / "runs/nanoGPT-s-recipe-1/metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in metrics if "valid_loss" in line][-1]
    assert first["valid_loss"]["seeds"] == [last["valid_loss"]]
    assert "| 2 groups of queries | " in tables.variations({"variations": result})


def test_finetuning_starts_from_the_larger_text(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ["--steps", "2", "--tuning-steps", "1", "--tuning-rates", "0.01"]
    places = [f"data.cache_dir={text / 'cache'}"]
    files = [str(text / "large.txt"), str(text / "small.txt")]
    tiny = [setting for setting in TINY if "max_steps" not in setting]
    result = run(finetuning, [*files, *tiny, *places, *steps], text, monkeypatch)
    kinds = [row["training"] for row in result["rows"]]
    assert len(kinds) == len(set(kinds)) == 5
    tuned = (text / "runs/tuned-0.01-1/config.yaml").read_text()
    assert f"init_from: {text / 'runs/large-1'}" in tuned
    assert "then 1 at 0.01" in tables.finetuning({"finetuning": result})


def test_a_training_that_fails_ends_the_exercise_with_one_sentence(text: Path) -> None:
    with pytest.raises(ValueError, match="the command above ended with status 2"):
        runs.train(text / "run", "gpt_shakespeare_char", "data.train=nowhere.txt")


def test_seeds_are_collected_only_where_nothing_else_differs(text: Path) -> None:
    shared = [f"data.train={text / 'small.txt'}", f"data.cache_dir={text / 'cache'}", *TINY]
    for name, override in (("a", "train.seed=1"), ("b", "train.seed=2"), ("c", "model.dropout=0.1")):
        runs.train(text / name, "gpt_shakespeare_char", *shared, override)
    result = collect([text / "a", text / "b"])
    losses = [run["valid_loss"] for run in result["runs"]]
    assert result["valid_loss_mean"] == pytest.approx(sum(losses) / 2)
    assert "| x | mean | " in tables.language({"x": result})
    with pytest.raises(ValueError, match=r"differ in more than the seed: model\.dropout"):
        collect([text / "a", text / "c"])
