"""Shortlists: learned from pairs, equal to the whole vocabulary if they contain it, independent of the batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from evaluate import make_shortlist
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig
from evaluate.length_batches import IdPair
from evaluate.shortlist import RestrictedOutput, Shortlist, train_shortlist
from evaluate.translator import Translator
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer.model import Transformer
from transformer.pretrained import load_pretrained, save_pretrained

CONFIG = DecodeConfig(beam=3, max_extra=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


def restrict(folder: Path, candidates_VC: torch.Tensor) -> Translator:
    """Return a translator in float64 with these candidates."""
    translator, model = load_translator(folder, CONFIG)
    restricted = RestrictedOutput(Shortlist(candidates_VC), model.output)
    return Translator(PyTorchBackend(model, restricted=restricted), translator.tokenizer, CONFIG)


def test_train_shortlist_finds_translations() -> None:
    pairs = [([10, 11, EOS_ID], [20, 21, EOS_ID]), ([11, 12, EOS_ID], [21, 22, EOS_ID]), ([12, EOS_ID], [22, EOS_ID])]
    shortlist = train_shortlist(pairs * 3, 30, 1)
    assert shortlist.candidates_VC[[10, 11, 12]].flatten().tolist() == [20, 21, 22]
    assert shortlist.of(IdPair((10, 12, EOS_ID), (25,))).tolist() == [EOS_ID, 20, 22, 25]


@pytest.mark.parametrize("bias", [False, True])
def test_shortlist_of_whole_vocabulary_changes_nothing(folder: Path, bias: bool, tmp_path: Path) -> None:
    if bias:
        config = replace(load_pretrained(folder)[1], output_bias=True)
        model = Transformer(config)
        torch.nn.init.normal_(model.output.bias)
        save_pretrained(tmp_path, model, folder / "tokenizer.model", "A test.")
        folder = tmp_path
    plain, model = load_translator(folder, CONFIG)
    every_VC = torch.arange(model.config.vocab_size).repeat(model.config.vocab_size, 1)
    found = restrict(folder, every_VC).translate(TEXT, n_best=2)
    for expected, own in zip(plain.translate(TEXT, n_best=2), found, strict=True):
        assert [t.tokens for t in own] == [t.tokens for t in expected]
        assert [t.log_prob for t in own] == pytest.approx([t.log_prob for t in expected])


def test_shortlist_keeps_prefix_and_does_not_depend_on_batch(folder: Path) -> None:
    torch.manual_seed(1)
    size = load_translator(folder, CONFIG)[1].config.vocab_size
    translator = restrict(folder, torch.randint(4, size, (size, 3)))
    together = translator.translate(TEXT, prefixes=["a b"] * len(TEXT))
    alone = [translator.translate([line], prefixes=["a b"])[0] for line in TEXT]
    for (a,), (b,) in zip(together, alone, strict=True):
        assert a.tokens == b.tokens
        assert a.log_prob == pytest.approx(b.log_prob)
        assert a.text.startswith("a b")


def test_shortlist_file_is_checked(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    Shortlist(torch.zeros(7, 2, dtype=torch.long)).save(file)
    with pytest.raises(ValueError, match="is a shortlist for 7 tokens; the model has"):
        Translator.from_pretrained(folder, CONFIG, "cpu", shortlist=file)
    file.write_bytes(b"x")
    with pytest.raises(ValueError, match="is not a shortlist"):
        Translator.from_pretrained(folder, CONFIG, "cpu", shortlist=file)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Translator.from_pretrained(folder, CONFIG, "cpu", shortlist=tmp_path)


@pytest.mark.parametrize(
    ("candidates_VC", "reason"),
    [
        (torch.full((320, 2), 320), "a candidate is not from 0 to 319"),
        (torch.full((320, 2), -1), "a candidate is not from 0 to 319"),
        (torch.zeros(320, 2), "candidates is not a matrix of integers"),
        (torch.zeros(320, dtype=torch.long), "candidates is not a matrix of integers"),
    ],
)
def test_shortlist_with_impossible_candidates_is_rejected(
    candidates_VC: torch.Tensor, reason: str, tmp_path: Path
) -> None:
    Shortlist(candidates_VC).save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=f"x.safetensors is not a shortlist: {reason}"):
        Shortlist.load(tmp_path / "x.safetensors", 320)


@pytest.mark.parametrize(
    ("text", "output", "message"),
    [
        ("", "x.safetensors", "a.txt and .*a.txt are empty"),
        ("a b\n", "missing/x.safetensors", "there is no folder .*missing to write x.safetensors to"),
    ],
)
def test_make_shortlist_rejects_empty_text_and_missing_folder(
    text: str, output: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    file.write_text(text)
    options = ["--source", str(file), "--target", str(file), "--output", str(tmp_path / output)]
    monkeypatch.setattr("sys.argv", ["make_shortlist", "--model", str(folder), *options])
    with pytest.raises((InputError, FileNotFoundError), match=message):
        make_shortlist.main()
