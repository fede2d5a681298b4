"""`train.finetune`: settings from the model that it starts from, BLEU before and after, and wrong input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from common.settings import dump_settings, load_saved_settings
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from data_pipeline.tokenizers.sentence_piece_pair import SPECIAL, _write
from evaluate.test_sets import everyday_sentences
from tests import tiny_gpt, tiny_model
from tests.conftest import make_pairs, write_parallel
from train.config import RunConfig
from train.finetuning import Gain, Parent, TestSets, choose_weights, describe_gains, find_parent, finetune
from train.own_text import check_languages, find_languages
from train.run.model_folder import write_model_folder
from train.run.parent import describe_parent
from train.size_rules import PARENT_SHARE
from transformer.included_models import FOLDER, included_models
from transformer.pretrained import load_pretrained, read_about, save_int8

QUIET = ["train.threads=1", "train.log_with=none", "validation.bleu_sentences=0", "train.precision=no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in 8 bits and some text."""
    path = tmp_path_factory.mktemp("finetuning")
    tiny_model.make_folder(path / "float")
    card = path / "float/README.md"
    card.write_text("---\nlicense: cc0-1.0\n---\n", encoding="utf-8")
    save_int8(path / "float", path / "model")
    write_parallel(path, "a", make_pairs(60))
    write_parallel(path, "test", make_pairs(12, start=900))
    return path


@pytest.fixture(scope="module")
def run_dir(folder: Path) -> Path:
    """The folder of a finished run."""
    settings = [*QUIET, "train.max_steps=8", "validation.every=4", "checkpoints.every=2"]
    settings += [f"run_dir={folder / 'run'}", f"data.cache_dir={folder / 'cache'}"]
    test = [folder / "test.en", folder / "test.de"]
    assert finetune(str(folder / "model"), _files(folder, "a"), settings, None, test) is None
    return folder / "run"


def _files(folder: Path, name: str) -> list[str]:
    return [str(folder / f"{name}.en"), str(folder / f"{name}.de")]


def test_finetune_starts_from_8_bit_weights_in_fp32(run_dir: Path, folder: Path) -> None:
    config = load_saved_settings(RunConfig, run_dir / "config.yaml")
    assert (config.train.init_from, config.size) == (str(folder / "model"), "given")
    before, after = (load_pretrained(path)[0].state_dict() for path in (folder / "model", run_dir))
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    changes = [(after[name] - before[name]).abs().max().item() for name in before]
    assert 0 < max(changes) < 0.1, "the weights are near those of the other model"
    assert (run_dir / "tokenizer.model").read_bytes() == (folder / "model/tokenizer.model").read_bytes()


def test_finetuned_model_can_be_stored_in_8_bits_again(run_dir: Path, tmp_path: Path) -> None:
    save_int8(run_dir, tmp_path / "small")
    assert read_about(tmp_path / "small")["weights"] == "int8"
    own, other = (load_pretrained(path)[0].state_dict() for path in (run_dir, tmp_path / "small"))
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, other[name], atol=float(tensor.abs().max()) / 250 + 1e-9, rtol=0)


def test_finetune_keeps_decoding_settings_and_length_limit_of_model(run_dir: Path, folder: Path) -> None:
    config = load_saved_settings(RunConfig, run_dir / "config.yaml")
    assert config.data.max_length == 40, "the model has 40 positions"
    assert (config.data.source_lang, config.data.target_lang) == ("en", "de")
    assert config.model.dropout == 0.1


def test_finetune_writes_figures_before_and_after(run_dir: Path) -> None:
    figures = json.loads((run_dir / "eval/finetuning.json").read_text())
    assert [(gain["test_set"], gain["is_own"], gain["lines"]) for gain in figures["gains"]] == [
        ("test.en", True, 12), ("everyday sentences", False, 60)
    ]  # fmt: skip
    for name in ("test.en", "everyday_sentences"):
        lines = [(run_dir / f"eval/{name}{kind}.hyp").read_text().count("\n") for kind in (".before", "")]
        assert lines[0] == lines[1] > 0
        assert json.loads((run_dir / f"eval/{name}.json").read_text())["comparison"]["resamples"] == 1000


def test_finetuned_card_names_parent_licence_and_figures(run_dir: Path) -> None:
    card = (run_dir / "README.md").read_text(encoding="utf-8")
    assert "Training started from the weights of `model`. The licence of that model is `cc0-1.0`." in card
    assert "| test.en (your text) | 12 |" in card
    assert str(run_dir.parent) not in card


def test_finetune_resumes_and_repeats_figures(run_dir: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = (run_dir / "eval/finetuning.json").read_text()
    weights = (run_dir / "model.safetensors").read_bytes()
    again = [*QUIET, "train.max_steps=8", "validation.every=4", "checkpoints.every=2", f"run_dir={run_dir}"]
    again += [f"data.cache_dir={folder / 'cache'}"]
    finetune(str(folder / "model"), _files(folder, "a"), again, None, [folder / "test.en", folder / "test.de"])
    assert (run_dir / "eval/finetuning.json").read_text() == figures
    assert (run_dir / "model.safetensors").read_bytes() == weights
    assert "test.en (your text)" in capsys.readouterr().out
    assert (run_dir / "README.md").read_text(encoding="utf-8").count("## Before and after finetuning") == 1


def test_choose_weights_uses_best_checkpoint_if_loss_rises(run_dir: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_dir, tmp_path / "run")
    config = load_saved_settings(RunConfig, run / "config.yaml")
    assert "the mean of the last checkpoints" in choose_weights(run, config)
    (best,) = (run / "checkpoints").glob("best-*")
    shutil.rmtree(best)
    shutil.copytree(run / "checkpoints/regular-00000004", run / "checkpoints/best-00000004")
    expected = "50% the weights after update 4, which had the lowest validation loss, and 50% the weights of model"
    assert choose_weights(run, config).endswith(expected)
    assert expected in (run / "README.md").read_text(encoding="utf-8")


def test_parent_share_mixes_weights_of_both_models(run_dir: Path, folder: Path, tmp_path: Path) -> None:
    config = load_saved_settings(RunConfig, run_dir / "config.yaml")
    assert config.checkpoints.parent_share == PARENT_SHARE
    other = replace(config, checkpoints=replace(config.checkpoints, parent_share=0.0))
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run/config.yaml").write_text(dump_settings(other), encoding="utf-8")
    write_model_folder(tmp_path / "run")
    parent, own, mixed = (
        load_pretrained(path)[0].state_dict() for path in (folder / "model", tmp_path / "run", run_dir)
    )
    for name, tensor in mixed.items():
        torch.testing.assert_close(tensor, (1 - PARENT_SHARE) * own[name] + PARENT_SHARE * parent[name])
    with pytest.raises(InputError, match="parent_share needs a parent"):
        replace(config, train=replace(config.train, init_from=None))


def test_find_parent_accepts_included_model_by_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for languages, path in included_models().items():
        parent = find_parent("-".join(languages))
        assert (parent.folder, parent.languages) == (path, languages)
    with pytest.raises(InputError, match=r"no included model translates from fr to xx; there are: .*en to de"):
        find_parent("fr-xx")


def test_find_parent_prefers_folder_of_that_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "model", tmp_path / "en-de")
    assert find_parent("en-de").folder == Path("en-de")


def test_find_parent_rejects_language_model(tmp_path: Path) -> None:
    tiny_gpt.make_folder(tmp_path)
    with pytest.raises(InputError, match="contains a language model"):
        find_parent(str(tmp_path))


def test_find_parent_rejects_marian_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model", tmp_path / "marian")
    model = Tokenizer(folder / "model/tokenizer.model").models[0]
    pieces = [*SPECIAL, *(f"piece{number}" for number in range(316))]
    _write(tmp_path / "marian/tokenizer.model", (model, model), pieces)
    with pytest.raises(InputError, match="two SentencePiece models, as Marian has"):
        find_parent(str(tmp_path / "marian"))


def test_parent_of_hub_keeps_its_name(folder: Path) -> None:
    assert Parent("user/model", folder / "model", ("en", "de")).settings()["train.init_from"] == "user/model"


def _refuse(folder: Path, corpus: list[str], message: str, *settings: str) -> None:
    more = [*QUIET, f"run_dir={folder / 'refused'}", f"data.cache_dir={folder / 'cache'}", *settings]
    with pytest.raises((InputError, FileNotFoundError), match=message):
        finetune(str(folder / "model"), corpus, more)
    assert not (folder / "refused/checkpoints").exists()


def test_finetune_rejects_unequal_line_counts_and_empty_files(folder: Path, tmp_path: Path) -> None:
    write_parallel(tmp_path, "short", make_pairs(3))
    (tmp_path / "empty.en").touch()
    (tmp_path / "empty.de").touch()
    _refuse(folder, [_files(folder, "a")[0], str(tmp_path / "short.de")], "60 lines.*3")
    _refuse(folder, _files(tmp_path, "empty"), "empty")
    _refuse(folder, _files(tmp_path, "missing"), "missing.en")


def test_finetune_rejects_other_languages_and_vocabulary(folder: Path) -> None:
    files = _files(folder, "a")
    _refuse(folder, files[::-1], "en to de. Give the files in the other order")
    _refuse(folder, files, "from en to de, not en to fr", "data.target_lang=fr")
    other = FOLDER / "en-de"
    _refuse(folder, files, "needs the vocabulary of .*Leave out data.tokenizer", f"data.tokenizer={other}")
    _refuse(folder, files, "--from name different models", f"train.init_from={other}")


def test_check_languages_accepts_names_without_language() -> None:
    check_languages(["mine.txt", "theirs.txt"], ("en", "de"), "en-de")
    check_languages(["corpus.tsv"], ("en", "de"), "en-de")
    with pytest.raises(InputError, match=r"are fr and de by their names.*Give files, or a model"):
        check_languages(["a.fr", "a.de"], ("en", "de"), "en-de")


def test_find_languages_reads_names_then_text(tmp_path: Path) -> None:
    assert find_languages(["x.fr", "x.pl.gz"]) == (("fr", "pl"), "by the names of the files")
    lines = ["The house that you have is not the one they want, and it was for sale."] * 4
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "b.txt").write_text(
        "\n".join(["Das ist nicht das Haus, das sie wollen, und ich bin mit der Frau."] * 4)
    )
    assert find_languages([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])[0] == ("en", "de")
    assert find_languages([str(tmp_path / "a.txt"), str(tmp_path / "a.txt")])[0] is None


def test_describe_parent_quotes_licences_of_included_model() -> None:
    text = describe_parent(str(FOLDER / "en-de"))
    assert "`en-de`. The licence of that model is `mit`." in text
    assert "### Data of the parent model" in text
    assert "Tatoeba" in text
    assert "## Evaluation" not in text
    assert "was not found" in describe_parent("/nowhere/model")


def test_describe_gains_reports_forgetting_and_missing_gain() -> None:
    sets = TestSets(None, everyday_sentences(("en", "de")), is_default=True)
    parent = find_parent("en-de")
    gains = [Gain("held-out pairs", True, 250, 20.0, 20.2, 0.4, "s"), Gain("x", False, 60, 40.0, 35.5, 0.01, "s")]
    text = describe_gains(gains, sets, parent, Path("runs/x"))
    assert "No certain gain on your text" in text
    assert "lost 4.5 BLEU" in text
    assert "--general SOURCE REFERENCE" in text
    assert everyday_sentences(("fr", "de")) is None
