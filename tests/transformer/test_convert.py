"""python -m transformer.convert: GPT-2 to a model folder and back."""

import sys
from pathlib import Path

import pytest
import torch

from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from tests.tiny_gpt2 import CONFIG, VOCAB, make_gpt2_folder, write_vocabulary
from tests.transformer.fake_hub import set_hub
from transformer import convert
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer
from transformer.pretrained import FILES, load_pretrained, save_pretrained


def run(monkeypatch: pytest.MonkeyPatch, *args: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, args)])
    convert.main()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_gpt2_folder(tmp_path / "gpt2")


def random_tokens() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, len(VOCAB), (2, 64))


def test_convert_import_gives_same_greedy_text_as_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    end = len(VOCAB) - 1
    settings = {"vocab_size": len(VOCAB), "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4}
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**settings, initializer_range=0.3, bos_token_id=end, eos_token_id=end)
    ).eval()
    model.save_pretrained(tmp_path / "a")
    write_vocabulary(tmp_path / "a")
    run(monkeypatch, "--from", "gpt2", tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(FILES)

    generator = Generator.from_pretrained(tmp_path / "b", "cpu")
    prompt = "the cat, the dog"
    ids = generator.tokenizer.encode_text(prompt)
    out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=30, pad_token_id=0)[0, len(ids) :]
    assert len(set(out.tolist())) > 5, "a continuation worth comparing"
    [[text]] = generator.generate([prompt], SampleConfig(temperature=0, max_tokens=30))
    assert text == generator.tokenizer.decode_text(out.tolist())


def test_convert_export_writes_folder_that_transformers_reads(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    run(monkeypatch, "--from", "gpt2", source, tmp_path / "a")
    run(monkeypatch, "--to", "gpt2", tmp_path / "a", tmp_path / "b")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "b")
    expected = load_pretrained(tmp_path / "a")[0](random_tokens())
    torch.testing.assert_close(model(random_tokens()).logits, expected, rtol=1e-5, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    text = "the cat  in thé 中 <house>\n"
    ids = BytePairTokenizer(tmp_path / "a" / "tokenizer.model").encode_text(text)
    assert tokenizer(text)["input_ids"] == ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == model.config.eos_token_id == VOCAB["<|endoftext|>"]


@pytest.mark.parametrize(("old", "new"), [("import", "--from gpt2"), ("export", "--to gpt2")])
def test_convert_names_option_instead_of_old_command(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, old, "a", "b")
    assert f"write {new} instead of {old}" in capsys.readouterr().err


def test_convert_import_puts_no_local_path_into_model_card(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--from", "gpt2", source, tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "Converted from `gpt2`" in card


@pytest.mark.parametrize("direction", ["--from", "--to"])
def test_convert_does_not_overwrite_files(source: Path, monkeypatch: pytest.MonkeyPatch, direction: str) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(ValueError, match="already exists and is not an empty folder"):
        run(monkeypatch, direction, "gpt2", source, source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_convert_export_rejects_vocabulary_that_is_not_byte_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = CharTokenizer.learn(["abc"], tmp_path / "tokenizer.model")
    model = GPT(ModelConfig(**{**CONFIG.__dict__, "vocab_size": tokenizer.vocab_size}))
    save_pretrained(tmp_path / "model", model, tmp_path / "tokenizer.model", "A card")
    with pytest.raises(ValueError, match=r"tokenizer\.model .* byte.*to_gpt2"):
        run(monkeypatch, "--to", "gpt2", tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_convert_export_leaves_no_folder_if_model_differs_from_gpt2(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--from", "gpt2", source, tmp_path / "a")
    model = GPT(ModelConfig(**{**CONFIG.__dict__, "norm": "post"}))
    save_pretrained(tmp_path / "b", model, tmp_path / "a" / "tokenizer.model", "A card")
    with pytest.raises(ValueError, match=r"model\.norm is post"):
        run(monkeypatch, "--to", "gpt2", tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_convert_export_rejects_translation_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spm").write_bytes(b"pieces")
    model = Transformer(ModelConfig(vocab_size=40, d_model=16, n_layers=1, n_heads=2, d_ff=32))
    save_pretrained(tmp_path / "model", model, tmp_path / "spm", "A card")
    with pytest.raises(ValueError, match=r"model\.architecture is transformer"):
        run(monkeypatch, "--to", "gpt2", tmp_path / "model", tmp_path / "out")


@pytest.mark.parametrize("answers", [False, True])
def test_convert_import_downloads_or_uses_cache_if_hub_does_not_answer(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    set_hub(monkeypatch, answers, source)
    run(monkeypatch, "--from", "gpt2", "gpt2", tmp_path / "a")
    assert load_pretrained(tmp_path / "a")[1] == CONFIG


def test_convert_import_does_not_ask_hub_for_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run(monkeypatch, "--from", "gpt2", tmp_path / "nowhere", tmp_path / "a")
