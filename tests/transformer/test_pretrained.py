"""The model folder: loading returns what was saved, and damaged folders raise errors."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from common.errors import InputError
from tests.transformer.fake_hub import catch_uploads, set_hub
from transformer import weights
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer, count_parameters
from transformer.pretrained import FILES, load_pretrained, push_to_hub, save_mean, save_pretrained

CONFIG = ModelConfig(vocab_size=40, d_model=16, n_layers=1, n_heads=2, d_ff=32, max_len=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    (tmp_path / "spm").write_bytes(b"pieces")
    save_pretrained(tmp_path / "model", Transformer(CONFIG), tmp_path / "spm", "# A card\n", ("en", "de"))
    return tmp_path / "model"


@pytest.mark.parametrize("tying", ["all", "output", "none"])
def test_save_and_load_keep_weights_and_tying(tmp_path: Path, tying: str) -> None:
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


def test_load_pretrained_returns_gpt_for_gpt(tmp_path: Path) -> None:
    (tmp_path / "spm").write_bytes(b"pieces")
    config = ModelConfig(**{**CONFIG.__dict__, "architecture": "gpt"})
    save_pretrained(tmp_path / "m", GPT(config), tmp_path / "spm", "# card")
    assert isinstance(load_pretrained(tmp_path / "m")[0], GPT)


def test_save_and_load_keep_model_with_all_variations(tmp_path: Path) -> None:
    (tmp_path / "spm").write_bytes(b"pieces")
    changes = {"activation": "swiglu", "positions": "rotary", "norm_kind": "rms", "n_kv_heads": 1, "init": "gpt2"}
    model = Transformer(ModelConfig(**{**CONFIG.__dict__, **changes, "scale_embedding": False})).eval()
    save_pretrained(tmp_path / "m", model, tmp_path / "spm", "# card")
    loaded, config = load_pretrained(tmp_path / "m")
    assert config == model.config
    src, mask, tgt = torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[2, 7]])
    torch.testing.assert_close(loaded(src, mask, tgt), model(src, mask, tgt), rtol=0, atol=0)


def test_load_pretrained_uses_default_for_field_missing_in_old_folder(folder: Path) -> None:
    about = json.loads((folder / "config.json").read_text())
    for name in ("norm_kind", "n_kv_heads", "scale_embedding", "init", "output_bias"):
        del about["model"][name]
    (folder / "config.json").write_text(json.dumps(about))
    assert load_pretrained(folder)[1] == CONFIG


def test_save_pretrained_writes_four_files(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert json.loads((folder / "config.json").read_text())["source_lang"] == "en"


def test_load_pretrained_fails_if_folder_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        load_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("file", FILES[:3])
def test_load_pretrained_lists_missing_file(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {file}, so it is not a complete"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format_version 99"),
        ({"model": {"d_model": 16}}, "does not describe a model of this version"),
        ({"model": {**CONFIG.__dict__, "alibi": True}}, "does not describe a model of this version: alibi$"),
        ({"model": {"d_model": 16, "n_heads": 2}}, "of this version: d_ff, n_layers, vocab_size$"),
        ({"model": {**CONFIG.__dict__, "scale_embedding": 1}}, "model.scale_embedding is 1; it must be true or false"),
        ({"model": {**CONFIG.__dict__, "n_kv_heads": 1}}, "must be .8, 16"),
        ({"model": {**CONFIG.__dict__, "positions": "rotary", "d_head": 7}}, r"config\.json: the head size 7"),
        ({"model": {**CONFIG.__dict__, "vocab_size": 41}}, "damaged or does not fit config.json"),
        ({"model": {**CONFIG.__dict__, "n_layers": 2}}, "damaged or does not fit config.json"),
        ({"model": {**CONFIG.__dict__, "d_model": "wide"}}, "model.d_model is 'wide'; it must be an integer"),
        ({"model": {**CONFIG.__dict__, "d_model": 16.0}}, r"model.d_model is 16.0; it must be an integer"),
        ({"model": {**CONFIG.__dict__, "n_layers": True}}, "model.n_layers is True; it must be an integer"),
        ({"model": {**CONFIG.__dict__, "d_head": "x"}}, "model.d_head is 'x'; it must be an integer or null"),
        ({"model": {**CONFIG.__dict__, "dropout": None}}, "model.dropout is None; it must be a number"),
        ({"model": {**CONFIG.__dict__, "dropout": 2}}, r"config\.json: model.dropout is 2"),
        ({"model": {**CONFIG.__dict__, "norm": "weird"}}, "model.norm is 'weird'; it must be 'post' or 'pre'"),
        ({"model": {**CONFIG.__dict__, "architecture": "bert"}}, "model.architecture is 'bert'; it must be"),
        (
            {"model": {**CONFIG.__dict__, "vocab_size": 10**9}},
            "model.vocab_size is 10+; it must be at most 10,000,000",
        ),
        ({"model": {**CONFIG.__dict__, "d_ff": 10**30}}, "model.d_ff is 10+; it must be at most"),
        ({"model": {**CONFIG.__dict__, "n_layers": 999}}, "too few for 999 layers"),
        ({"model": {**CONFIG.__dict__, "max_len": 10**15}}, "model.max_len is 10+; it must be at most"),
        ({"model": {**CONFIG.__dict__, "d_model": 65536, "max_len": 1025}}, "it must be at most 1,024"),
    ],
)
def test_load_pretrained_rejects_config_json_that_does_not_fit(folder: Path, change: dict, message: str) -> None:
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | change))
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, 1000])
def test_load_pretrained_rejects_truncated_weights(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_pretrained(folder)


def test_load_pretrained_rejects_invalid_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="it is not valid JSON"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("I/O error: No space left on device", errno.ENOSPC),
        ("I/O error: File too large (os error 27)", errno.EFBIG),
    ],
)
def test_save_pretrained_keeps_old_weights_if_disk_is_full(
    folder: Path, text: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise SafetensorError(f"Error while serializing: {text}")

    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError) as caught:
        save_pretrained(folder, Transformer(CONFIG), folder / "tokenizer.model", "# A card\n")
    assert caught.value.errno == number
    assert "model.safetensors" in caught.value.filename
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("answers", [False, True])
def test_load_pretrained_uses_cache_if_hub_does_not_answer(
    folder: Path, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_hub(monkeypatch, answers=answers, cached=folder)
    assert load_pretrained("me/model")[1] == CONFIG


def test_load_pretrained_rejects_integer_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "encoder.blocks.0.feed_forward.inner.weight"
    save_file(tensors | {name: tensors[name].int()}, file)
    with pytest.raises(InputError, match=rf"{name} has numbers of the type int32; weights must be floating point"):
        load_pretrained(folder)


def test_push_to_hub_rejects_symbolic_links(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/README.md").unlink()
    (tmp_path / "copy/README.md").symlink_to(tmp_path / "private")
    with pytest.raises(InputError, match=r"README.md is a symbolic link"):
        push_to_hub(tmp_path / "copy", "me/model")


def test_push_to_hub_uploads_model_files_and_card_with_scores(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = catch_uploads(monkeypatch)
    report = {"test_set": str(tmp_path / "my.test"), "bleu": 30.5, "signature": "tok:13a"}
    report["scores"] = {"chrf2": {"score": 55, "signature": "nc:6"}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    card = (folder / "README.md").read_text()
    (folder / "secret.txt").write_text("x")
    address = push_to_hub(folder, "me/model", licence="mit", reports=[tmp_path / "report.json"])
    assert address == "https://huggingface.co/me/model/commit/1"
    [(name, private, files)] = uploads
    assert (name, private, set(files)) == ("me/model", False, set(FILES))
    data = ModelCard(files["README.md"].decode()).data
    assert (data.model_name, data.license) == ("model", "mit")
    assert [(r.dataset_name, r.metric_name, r.metric_value) for r in data.eval_results] == [
        ("my.test", "BLEU", 30.5),
        ("my.test", "chrF2", 55),
    ]
    assert (folder / "README.md").read_text() == card


@pytest.mark.parametrize("content", ["[]", "{}", '{"test_set": "a", "bleu": "x", "signature": "y", "scores": {}}'])
def test_push_to_hub_rejects_file_that_is_no_report(
    folder: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = catch_uploads(monkeypatch)
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json is not an evaluation report\. Give the NAME\.json"):
        push_to_hub(folder, "me/model", reports=[tmp_path / "report.json"])
    assert uploads == []


@pytest.mark.parametrize("model_type", ["gpt2", "marian"])
def test_load_pretrained_names_conversion_of_folder_of_transformers(tmp_path: Path, model_type: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(InputError, match=rf"is a folder of transformers, .* transformer.convert --from {model_type} "):
        load_pretrained(tmp_path)


def test_mean_of_models_has_mean_weights_and_settings_of_first(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_pretrained(tmp_path / "other", Transformer(CONFIG), tmp_path / "spm", "# card", ("en", "de"))
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"decode": {"beam": 3}, "calibration": {}}))
    save_mean([folder, tmp_path / "other"], tmp_path / "mean")
    first, second, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "other", "mean"))
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2)
    assert json.loads((tmp_path / "mean" / "config.json").read_text()) == about | {"decode": {"beam": 3}}
    assert "mean of those of 2 models: model, other" in (tmp_path / "mean" / "README.md").read_text()


def test_models_of_other_shape_vocabulary_or_languages_have_no_mean(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.spm").write_bytes(b"other pieces")
    wide = Transformer(ModelConfig(**{**CONFIG.__dict__, "d_ff": 64}))
    save_pretrained(tmp_path / "wide", wide, tmp_path / "spm", "# card", ("en", "de"))
    save_pretrained(tmp_path / "words", Transformer(CONFIG), tmp_path / "other.spm", "# card", ("en", "de"))
    save_pretrained(tmp_path / "back", Transformer(CONFIG), tmp_path / "spm", "# card", ("de", "en"))
    with pytest.raises(InputError, match="have different languages"):
        save_mean([folder, tmp_path / "back"], tmp_path / "mean")
    with pytest.raises(InputError, match="have different models"):
        save_mean([folder, tmp_path / "wide"], tmp_path / "mean")
    with pytest.raises(InputError, match="have different vocabularies"):
        save_mean([folder, tmp_path / "words"], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_mean_of_models_of_older_version_keeps_their_decoding_settings(folder: Path, tmp_path: Path) -> None:
    (folder / "config.yaml").write_text("decode:\n  beam: 7\n")
    save_mean([folder, folder], tmp_path / "mean")
    assert (tmp_path / "mean" / "config.yaml").read_text() == "decode:\n  beam: 7\n"
