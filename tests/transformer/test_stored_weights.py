"""Weights in 8 bits: the error is bounded, every reader of model folders reads them, damaged ones are refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import InputError
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from train.initial_weights import start_from
from transformer import convert
from transformer.formats.argos import export_argos
from transformer.formats.ctranslate2 import export_ctranslate2
from transformer.model import Transformer, build
from transformer.pretrained import FILES, load_pretrained
from transformer.stored_weights import SCALE, to_float, to_int8
from transformer.weights import get_weights


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["convert", "--to", "int8", str(original), str(tmp_path / "int8")])
    convert.main()
    return tmp_path / "int8"


def change_weights(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, folder / "model.safetensors")


def test_error_of_int8_is_at_most_half_a_scale() -> None:
    torch.manual_seed(0)
    rows = torch.randn(50, 40) * torch.logspace(-30, 3, 50).unsqueeze(1)
    rows[7] = 0
    tensors = {"matrix": rows, "vector": torch.randn(9)}
    stored = to_int8(tensors)
    loaded = to_float(stored, "int8")
    assert stored["matrix"].dtype == torch.int8
    assert torch.equal(loaded["vector"], tensors["vector"])
    assert torch.equal(loaded["matrix"][7], rows[7])
    assert ((loaded["matrix"] - rows).abs() <= stored["matrix" + SCALE] * 0.50001).all()


def test_storing_in_int8_again_changes_nothing() -> None:
    torch.manual_seed(0)
    stored = to_int8({"matrix": torch.randn(20, 30)})
    again = to_int8(to_float(stored, "int8"))
    assert torch.equal(again["matrix"], stored["matrix"])


def test_to_int8_refuses_weights_that_are_not_finite() -> None:
    with pytest.raises(InputError, match="w has weights that are not finite"):
        to_int8({"w": torch.tensor([[1.0, float("nan")]])})


def test_convert_to_int8_writes_small_model_folder(original: Path, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in ("tokenizer.model", "README.md"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    about = json.loads((original / "config.json").read_text())
    assert json.loads((folder / "config.json").read_text()) == about | {"weights": "int8"}
    matrices = [t for t in load_file(original / "model.safetensors").values() if t.dim() == 2]
    stored = load_file(folder / "model.safetensors")
    assert sum(t.numel() for t in stored.values() if t.dtype == torch.int8) == sum(t.numel() for t in matrices)


def test_int8_folder_loads_as_fp32_close_to_original(original: Path, folder: Path) -> None:
    weights, expected = (get_weights(load_pretrained(path)[0]) for path in (folder, original))
    for name, tensor in weights.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=float(expected[name].abs().max()) / 253)


def test_translator_reads_int8_folder(folder: Path) -> None:
    translator = Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=4), "cpu")
    assert len(translator(TEXT)) == len(TEXT)


def test_training_starts_from_int8_folder(folder: Path) -> None:
    loaded, config = load_pretrained(folder)
    model = build(config)
    start_from(str(folder), model, config, folder / "tokenizer.model")
    assert all(torch.equal(get_weights(model)[name], tensor) for name, tensor in get_weights(loaded).items())


@pytest.mark.parametrize("export", [export_ctranslate2, export_argos])
def test_int8_folder_is_exported(export: Callable[..., Path], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    assert export(folder, tmp_path / "x.argosmodel", "float32").exists()


def test_int8_folder_is_converted_to_marian(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", "--to", "marian", str(folder), str(tmp_path / "marian")])
    about = json.loads((folder / "config.json").read_text())
    assert about["model"]["tying"] == "all"
    convert.main()
    assert isinstance(load_pretrained(folder)[0], Transformer)
    assert (tmp_path / "marian" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["int4", 8, ["int8"]])
def test_load_pretrained_refuses_unknown_format(name: object, folder: Path) -> None:
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"weights": name}))
    with pytest.raises(InputError, match=r"config.json: weights is .*; this version reads int8, or weights without"):
        load_pretrained(folder)


MATRIX = "src_embedding.tokens.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((MATRIX + SCALE, None), rf"{MATRIX}.scale is missing"),
        ((MATRIX, None), rf"{MATRIX}.scale has no matrix"),
        ((MATRIX + SCALE, torch.ones(3, 1)), "does not have a scale for each row"),
        ((MATRIX + SCALE, torch.ones(320, 1, dtype=torch.int32)), "does not have a scale for each row"),
        ((MATRIX + SCALE, torch.full((320, 1), float("inf"))), "negative or not finite"),
        ((MATRIX + SCALE, torch.full((320, 1), -1.0)), "negative or not finite"),
        ((MATRIX, torch.ones(320, 17, dtype=torch.int8)), "has the shape"),
    ],
)
def test_load_pretrained_refuses_damaged_int8(
    change: tuple[str, torch.Tensor | None], message: str, folder: Path
) -> None:
    change_weights(folder, *change)
    with pytest.raises(InputError, match=rf"model.safetensors is damaged or does not fit config.json: .*{message}"):
        load_pretrained(folder)


def test_load_pretrained_refuses_int8_without_field(folder: Path) -> None:
    about = json.loads((folder / "config.json").read_text())
    del about["weights"]
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="is only in the weights"):
        load_pretrained(folder)
