"""A model exported to CTranslate2 gives the same probabilities, the same greedy output and the same n-best lists."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.nn.functional import cross_entropy

from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer, train_tokenizer
from evaluate.config import DecodeConfig, LengthPenalty
from evaluate.length_batches import pad
from evaluate.translation import LineTooLong
from evaluate.translator import Translator
from tests.tiny_model import TEXT
from transformer.config import ModelConfig
from transformer.formats import ctranslate2 as ctranslate2_model
from transformer.formats.ctranslate2 import (
    check_exportable,
    export_ctranslate2,
    import_ctranslate2,
    make_spec,
    read_pieces,
)
from transformer.model import GPT, Transformer
from transformer.pretrained import load_pretrained, save_pretrained

ctranslate2 = pytest.importorskip("ctranslate2")

from evaluate.backends.ctranslate2 import CTranslate2Backend, check_compute_type, find_export  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
TINY = ModelConfig(vocab_size=320, d_model=16, n_layers=2, n_heads=4, d_ff=32, max_len=40)
VARIATIONS = {
    "the paper's": TINY,
    "pre-norm": replace(TINY, norm="pre"),
    "learned positions": replace(TINY, positions="learned"),
    "rotary positions, fewer keys": replace(TINY, positions="rotary", n_kv_heads=2),
    "one head of keys": replace(TINY, n_kv_heads=1, norm="pre", norm_kind="rms"),
    "wide heads": replace(TINY, d_head=6, positions="rotary"),
    "gelu, target tied": replace(TINY, activation="gelu", tying="output"),
    "gelu_tanh, untied": replace(TINY, activation="gelu_tanh", tying="none"),
    "swiglu, rms": replace(TINY, activation="swiglu", norm_kind="rms"),
    "silu, output bias": replace(TINY, activation="silu", output_bias=True),
    "not scaled": replace(TINY, scale_embedding=False),
    "one decoder layer": replace(TINY, n_decoder_layers=1),
}


def make_folder(folder: Path, config: ModelConfig, updates: int = 0) -> Path:
    """Write a model with random weights and biases, trained for some updates so that its outputs end."""
    folder.mkdir()
    tokenizer = train_tokenizer(iter(TEXT), folder / "tokenizer.model", vocab_size=config.vocab_size)
    torch.manual_seed(1)
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    src, tgt = pad(tokenizer.encode(TEXT)), pad([[BOS_ID, *ids] for ids in tokenizer.encode(TEXT[::-1])])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(updates):
        logits_BLV = model(src, src != PAD_ID, tgt[:, :-1])
        cross_entropy(logits_BLV.flatten(0, 1), tgt[:, 1:].flatten(), ignore_index=PAD_ID).backward()
        optimizer.step()
        optimizer.zero_grad()
    save_pretrained(folder, model, folder / "tokenizer.model", "A test.", languages=("en", "de"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("export") / "model", TINY, updates=200)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    return export_ctranslate2(folder, folder.with_name("exported"))


def both(folder: Path, exported: Path, config: DecodeConfig) -> tuple[Translator, Translator]:
    backend = CTranslate2Backend(exported, max_len=TINY.max_len, threads=1, patience=8)
    ctranslate = Translator(backend, Tokenizer(exported / "tokenizer.model"), config)
    return Translator.from_pretrained(folder, config, device="cpu", prepack=False), ctranslate


@pytest.mark.parametrize("name", VARIATIONS)
def test_exported_model_gives_same_token_log_probabilities(name: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", VARIATIONS[name])
    model, _ = load_pretrained(folder)
    tokenizer, pieces = Tokenizer(folder / "tokenizer.model"), read_pieces(folder / "tokenizer.model", 320)
    sources, targets = tokenizer.encode(TEXT[:3]), tokenizer.encode(TEXT[2:])
    translator = ctranslate2.Translator(str(export_ctranslate2(folder, tmp_path / "out")), intra_threads=1)
    scored = translator.score_batch(*([[pieces[i] for i in ids[:-1]] for ids in text] for text in (sources, targets)))
    for source, target, score in zip(sources, targets, scored, strict=True):
        src, tgt = torch.tensor([source]), torch.tensor([[BOS_ID, *target]])
        logp_1LV = model(src, src != PAD_ID, tgt[:, :-1]).log_softmax(-1)
        own_L = logp_1LV.gather(-1, tgt[:, 1:, None])[0, :, 0]
        torch.testing.assert_close(torch.tensor(score.log_probs), own_L, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", VARIATIONS)
def test_exported_model_finds_same_tokens_in_greedy_search(name: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", VARIATIONS[name])
    config = DecodeConfig(beam=1, max_extra=6)
    pytorch, ctranslate = both(folder, export_ctranslate2(folder, tmp_path / "out"), config)
    assert [t[0].tokens for t in pytorch.translate(TEXT)] == [t[0].tokens for t in ctranslate.translate(TEXT)]


@pytest.mark.parametrize("penalty", get_args(LengthPenalty))
def test_exported_model_finds_same_n_best_with_same_scores(
    folder: Path, exported: Path, penalty: LengthPenalty
) -> None:
    pytorch, ctranslate = both(folder, exported, DecodeConfig(beam=4, length_penalty=penalty, max_extra=8))
    for expected, found in zip(pytorch.translate(TEXT, n_best=2), ctranslate.translate(TEXT, n_best=2), strict=True):
        assert [t.tokens for t in expected] == [t.tokens for t in found]
        assert [t.text for t in expected] == [t.text for t in found]
        for a, b in zip(expected, found, strict=True):
            assert (a.score, a.log_prob) == pytest.approx((b.score, b.log_prob), abs=1e-4)


@pytest.mark.parametrize("returned", [True, False])
def test_ctranslate2_length_penalty_counts_end_of_sentence(exported: Path, returned: bool) -> None:
    """As `decode.length_penalty=length` does. Otherwise the note that the export prints would be wrong."""
    pieces = read_pieces(exported / "tokenizer.model", 320)
    source = [pieces[i] for i in Tokenizer(exported / "tokenizer.model").encode(TEXT[:1])[0][:-1]]
    translator = ctranslate2.Translator(str(exported), intra_threads=1)
    [found] = translator.translate_batch(
        [source], length_penalty=1.0, max_decoding_length=39, return_scores=True, return_end_token=returned
    )
    words = [piece for piece in found.hypotheses[0] if piece != "</s>"]
    [score] = translator.score_batch([source], [words])
    assert found.scores[0] == pytest.approx(sum(score.log_probs) / (len(words) + 1), abs=1e-5)


def test_ctranslate2_backend_never_outputs_forbidden_token(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", replace(TINY, tying="none"))
    model, _ = load_pretrained(folder)
    with torch.no_grad():  # <unk> is the likeliest token at every position
        model.output.weight.copy_(model.get_parameter("decoder.blocks.1.feed_forward_residual.norm.bias") * 0.01)
        model.output.weight[UNK_ID] *= 1000
    save_pretrained(folder, model, folder / "tokenizer.model", "A test.")
    _, ctranslate = both(folder, export_ctranslate2(folder, tmp_path / "out"), DecodeConfig(beam=2, max_extra=3))
    found = {token for best in ctranslate.translate(TEXT) for t in best for token in t.tokens}
    assert found
    assert not found & {PAD_ID, UNK_ID, BOS_ID}


def test_ctranslate2_backend_limits_output_length_per_sentence(folder: Path, exported: Path) -> None:
    _, ctranslate = both(folder, exported, DecodeConfig(beam=3, max_extra=0))
    lines = ["The cat.", "The cat sees the small house and a dog."]
    for ids, best in zip(ctranslate.encode(lines), ctranslate.translate(lines), strict=True):
        assert 0 < len(best[0].tokens) <= len(ids)


def test_ctranslate2_backend_keeps_order_and_empty_lines(folder: Path, exported: Path) -> None:
    pytorch, ctranslate = both(folder, exported, DecodeConfig(beam=1, max_extra=5))
    lines = ["", *TEXT, "  ", TEXT[0]]
    assert ctranslate(lines) == pytorch(lines)


def test_translator_with_ctranslate2_uses_decode_settings_of_model_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = shutil.copytree(folder, tmp_path / "model")
    about = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**about, "decode": {"beam": 2, "max_extra": 5}}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    translator = Translator.from_pretrained(saved, device="cpu", backend="ctranslate2")
    assert translator.config == DecodeConfig(beam=2, max_extra=5)
    assert (translator.max_len, translator.source_lang) == (TINY.max_len, "en")
    assert [bool(text) for text in translator([TEXT[0], ""])] == [True, False]
    cat, book = translator(TEXT[:2])
    assert translator([" 42", f"{TEXT[0]} 42! {TEXT[1]}"]) == [" 42", f"{cat} 42! {book}"]
    with pytest.raises(ValueError, match="the backend ctranslate2 does not support sampling"):
        translator.sample(TEXT)


def test_ctranslate2_backend_splits_line_longer_than_max_len(folder: Path, exported: Path) -> None:
    _, ctranslate = both(folder, exported, DecodeConfig())
    with pytest.warns(UserWarning, match=r"line 2 is longer than the model's limit of 40 tokens"):
        assert len(ctranslate.translate(["a", "word " * 50])) == 2
    with pytest.raises(LineTooLong, match=r"line 2 has .* tokens; the model supports 40"):
        ctranslate.encode(["a", "word " * 50])


def test_find_export_reuses_cache_only_for_same_weights(folder: Path, tmp_path: Path) -> None:
    first = find_export(folder, "float32", tmp_path)
    written = (first / "model.bin").stat().st_mtime_ns
    assert find_export(folder, "float32", tmp_path) == first
    assert (first / "model.bin").stat().st_mtime_ns == written
    other = make_folder(tmp_path / "other", replace(TINY, norm="pre"))
    assert find_export(other, "float32", tmp_path) != first
    assert find_export(folder, "int8", tmp_path) != first


def test_find_export_names_damage_and_exports_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = find_export(folder, "float32", tmp_path)
    weights = (exported / "model.bin").read_bytes()
    (exported / "model.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert find_export(folder, "float32", tmp_path) == exported
    assert "the bytes of model.bin were changed" in capsys.readouterr().err
    assert (exported / "model.bin").read_bytes() == weights


def test_export_ctranslate2_writes_complete_folder(exported: Path, folder: Path) -> None:
    names: set[str] = {"README.md", "config.json", "model.bin", "shared_vocabulary.json", "tokenizer.model"}
    assert {file.name for file in exported.iterdir()} == names
    assert (exported / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()
    settings = json.loads((exported / "config.json").read_text())
    assert (settings["add_source_eos"], settings["decoder_start_token"]) == (True, "<s>")
    assert read_pieces(exported / "tokenizer.model", 320)[EOS_ID] == "</s>"


def test_export_ctranslate2_leaves_no_files_after_failure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctranslate2_model.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        export_ctranslate2(folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_export_ctranslate2_does_not_overwrite_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="already exists"):
        export_ctranslate2(folder, tmp_path)


def test_export_ctranslate2_rejects_language_model(tmp_path: Path, folder: Path) -> None:
    config = replace(TINY, architecture="gpt")
    save_pretrained(tmp_path / "gpt", GPT(config), folder / "tokenizer.model", "A test.")
    with pytest.raises(
        ValueError, match=r"model\.architecture is gpt, but the export to CTranslate2 supports only transformer"
    ):
        export_ctranslate2(tmp_path / "gpt", tmp_path / "out")


def test_check_exportable_rejects_unknown_field_with_new_value(monkeypatch: pytest.MonkeyPatch) -> None:
    check_exportable(TINY)
    with monkeypatch.context() as patch:
        patch.delitem(ctranslate2_model._SUPPORTED, "norm_kind")
        check_exportable(TINY)
        with pytest.raises(ValueError, match=r"model\.norm_kind is rms, but the export .* supports only layer"):
            check_exportable(replace(TINY, norm_kind="rms"))


@pytest.mark.parametrize("name", ["norm", "positions", "activation", "tying", "norm_kind"])
def test_check_exportable_rejects_unknown_value(name: str) -> None:
    config = replace(TINY)
    object.__setattr__(config, name, "future")
    with pytest.raises(ValueError, match=f"model.{name} is future, but the export to CTranslate2 supports only"):
        check_exportable(config)


def test_make_spec_rejects_unknown_weight() -> None:
    model = Transformer(TINY)
    model.register_parameter("extra", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match="has the weight extra"):
        make_spec(model, ["piece"] * TINY.vocab_size)


def test_export_lists_every_model_field() -> None:
    assert ctranslate2_model._SUPPORTED.keys() == ModelConfig.__dataclass_fields__.keys()


def test_check_compute_type_lists_supported_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: {"float32", "int8"})
    with pytest.raises(
        ValueError, match=r"cannot compute in float16 on the cpu of this machine\. Use one of float32, int8"
    ):
        check_compute_type("float16", "cpu")


def test_import_ctranslate2_fails_if_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ValueError, match=r"CTranslate2 is not installed\. Run: pip install ctranslate2"):
        import_ctranslate2()


def test_export_command_prints_note_on_length_penalty(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "transformer.export", "--to", "ctranslate2", "--model", str(folder)]
    done = subprocess.run([*command, "--output", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "n^length_penalty" in done.stdout
    again = subprocess.run([*command, "--output", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
    assert (again.returncode, again.stderr.startswith("error: ")) == (2, True)
