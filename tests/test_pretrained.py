"""The model folder: what is saved is what is loaded, and what is broken is named."""

import json
from pathlib import Path

import pytest
import torch

from transformer.config import ModelConfig
from transformer.model import GPT, Transformer, count_parameters
from transformer.pretrained import FILES, average, load_pretrained, save_pretrained

CONFIG = ModelConfig(vocab_size=40, d_model=16, n_layers=1, n_heads=2, d_ff=32, max_len=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    (tmp_path / "spm").write_bytes(b"pieces")
    save_pretrained(tmp_path / "model", Transformer(CONFIG), tmp_path / "spm", "# A card\n", ("en", "de"))
    return tmp_path / "model"


@pytest.mark.parametrize("tying", ["all", "output", "none"])
def test_saving_and_loading_keeps_weights_and_tying(tmp_path: Path, tying: str) -> None:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**{**CONFIG.__dict__, "tying": tying})).eval()
    (tmp_path / "spm").write_bytes(b"pieces")
    save_pretrained(tmp_path / "m", model, tmp_path / "spm", "# card")
    loaded, config = load_pretrained(tmp_path / "m")
    assert config == model.config
    assert count_parameters(loaded) == count_parameters(model)
    src, mask, tgt = torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[2, 7]])
    torch.testing.assert_close(loaded(src, mask, tgt), model(src, mask, tgt), rtol=0, atol=0)
    assert not loaded.training


def test_a_gpt_is_loaded_as_a_gpt(tmp_path: Path) -> None:
    (tmp_path / "spm").write_bytes(b"pieces")
    config = ModelConfig(**{**CONFIG.__dict__, "architecture": "gpt"})
    save_pretrained(tmp_path / "m", GPT(config), tmp_path / "spm", "# card")
    assert isinstance(load_pretrained(tmp_path / "m")[0], GPT)


def test_the_folder_holds_the_four_files_and_nothing_else(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert json.loads((folder / "config.json").read_text())["source_lang"] == "en"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        load_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("file", FILES[:3])
def test_an_incomplete_folder_names_what_is_missing(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format_version 99"),
        ({"model": {"d_model": 16}}, "does not describe a model of this version"),
        ({"model": {**CONFIG.__dict__, "vocab_size": 41}}, "damaged or belongs to another config.json"),
        ({"model": {**CONFIG.__dict__, "n_layers": 2}}, "damaged or belongs to another config.json"),
        ({"model": {**CONFIG.__dict__, "d_model": "wide"}}, "wrong type"),
    ],
)
def test_a_folder_of_another_version_or_shape_is_refused(folder: Path, change: dict, message: str) -> None:
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | change))
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, 1000])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_pretrained(folder)


def test_a_damaged_config_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_pretrained(folder)


def test_the_average_of_weights_is_their_mean(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for i in range(3):
        save_file({"w": torch.tensor([i, 10.0 * i])}, str(tmp_path / f"{i}"))
    mean = average([tmp_path / str(i) for i in range(3)])
    torch.testing.assert_close(mean["w"], torch.tensor([1.0, 10.0]))
