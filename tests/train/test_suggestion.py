"""`train.suggest`: what it prints about a text, the settings that it writes, and wrong input."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.settings import load_settings
from tests import tiny_model
from tests.conftest import make_pairs, write_parallel
from train import suggestion
from train.config import RunConfig
from train.size import load_run
from train.size_rules import PARENT_SHARE, RULES, Machine
from train.suggestion import FINETUNED, MEASURED, Suggestion, make_suggestion, write_yaml

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of two languages, and a model for them."""
    path = tmp_path_factory.mktemp("suggestion")
    tiny_model.make_folder(path / "model")
    write_parallel(path, "my", make_pairs(80))
    return path


@pytest.fixture
def suggested(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Suggestion:
    monkeypatch.setattr(Machine, "here", lambda: Machine("cpu", 2, bf16=False))
    monkeypatch.setattr(suggestion, "included_models", lambda: {("en", "de"): folder / "model"})
    return make_suggestion([str(folder / "my.en"), str(folder / "my.de")], _settings(folder), None)


def _settings(folder: Path) -> list[str]:
    return [f"data.cache_dir={folder / 'cache'}", "train.threads=1", "train.max_steps=7"]


def test_suggestion_describes_text_rule_time_and_expectation(suggested: Suggestion) -> None:
    text = "\n".join(suggested.lines())
    assert "80 pairs, 76 for training; held out: 4" in text
    assert "English (en) to German (de), by the names of the files" in text
    assert "2 CPU cores without bf16" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("  > ")] == ["2,000"]
    assert text.count("\n") > len(RULES["cpu"]) + 8
    assert "model.n_layers=2" in text
    assert "7 updates x" in text
    assert "7.7 with 400 pairs" in text
    assert "most translations will be wrong" in text


def test_suggested_command_trains_with_suggested_settings(suggested: Suggestion, folder: Path) -> None:
    program, *words = shlex.split(suggested.training_command())[2:]
    assert program == "train/train.py"
    config, run_dir = load_run(None, words)
    assert run_dir == Path("runs/mine")
    assert (config.model, config.schedule, config.data.train) == (
        suggested.choice.config.model, suggested.choice.config.schedule, [str(folder / "my.en"), str(folder / "my.de")]
    )  # fmt: skip


def test_suggestion_names_finetuning_command_only_for_included_languages(suggested: Suggestion, folder: Path) -> None:
    assert suggested.finetuning is not None
    assert suggested.finetuning.config.train.init_from == str(folder / "model")
    assert f"python -m train.finetune --from en-de {folder / 'my.en'} {folder / 'my.de'} " in suggested.lines()[-1]
    other = make_suggestion(suggested.corpus, [*_settings(folder), "data.target_lang=nl"], None)
    assert other.finetuning is None
    assert "no included model translates English (en) to Dutch (nl)" in "\n".join(other.lines())
    assert "data.target_lang=nl" in other.training_command()
    small = make_suggestion(suggested.corpus, [*_settings(folder), "model.d_model=32"], None)
    assert small.choice.config.model.d_model == 32
    assert "the included model does not fit these settings" in " ".join(small.lines())


def test_write_yaml_writes_settings_that_train_reads(suggested: Suggestion, tmp_path: Path) -> None:
    file = write_yaml(suggested, str(tmp_path / "mine.yaml"))
    written = load_settings(RunConfig, file)
    assert written.model == suggested.choice.config.model
    assert written.data == suggested.choice.config.data
    assert written.size == "given"
    assert f"--config {file} run_dir=runs/mine" in file.read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml exists"):
        write_yaml(suggested, str(file))


def test_expectation_quotes_results_of_benchmark() -> None:
    rows = json.loads((ROOT / "benchmarks/results/own_text.json").read_text(encoding="utf-8"))["rows"]
    assert {row["pairs"]: round(row["bleu"], 1) for row in rows} == MEASURED


def test_figures_of_finetuning_are_near_results_of_benchmark() -> None:
    result = json.loads((ROOT / "benchmarks/results/finetune_included.json").read_text(encoding="utf-8"))
    (row,) = (row for row in result["rows"] if row["parent_share"] == PARENT_SHARE)
    assert result["pairs"] == 5_000
    measured = [gain[name] for gain in row["gains"] for name in ("before", "after")]
    assert measured == pytest.approx(FINETUNED, abs=0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a source and a target file"),
        (["a", "b", "c"], "not 3 names"),
        (["a.en", "a.de", "data.train=b.tsv"], "give either files or data.train"),
        (["a.en", "a.de", "model.d_modle=3"], "there is no setting 'model.d_modle'"),
        (["a.en", "missing.de"], "missing.de"),
        (["a.en", "b.de"], "60 lines"),
        (["empty.en", "empty.de"], "empty"),
    ],
)
def test_suggest_rejects_wrong_arguments(tmp_path: Path, words: list[str], message: str) -> None:
    write_parallel(tmp_path, "a", make_pairs(60))
    write_parallel(tmp_path, "b", make_pairs(3))
    for name in ("empty.en", "empty.de"):
        (tmp_path / name).touch()
    if words[:2] == ["a.en", "b.de"] or "empty.en" in words or "missing.de" in words or "model.d_modle=3" in words:
        with pytest.raises((InputError, FileNotFoundError), match=message):
            make_suggestion(
                [str(tmp_path / word) for word in words[:2]], [*words[2:], f"data.cache_dir={tmp_path}"], None
            )
        return
    command = [sys.executable, "-m", "train.suggest", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
