"""Marian models of transformers give the same logits and the same beam search output here, and back."""

import io
import json
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from data_pipeline.tokenizers.sentence_piece_pair import SentencePiecePair
from evaluate.config import DecodeConfig
from evaluate.model_folders import read_decode_config
from evaluate.scorer import Scorer
from evaluate.translation_writer import TranslationWriter
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from transformer import convert
from transformer.config import ModelConfig
from transformer.formats import marian as marian_format
from transformer.formats.marian import FORBIDDEN_LOGIT, check_exportable, marian_tensors
from transformer.included_models import included_models
from transformer.model import Transformer
from transformer.pretrained import load_pretrained, save_pretrained

transformers = pytest.importorskip("transformers")
SOURCES = [
    "The cat sees the small house.",
    "A dog, an old letter; we read it.",
    "Zebra 12 \u00e9 \u4e2d",  # characters that the vocabulary does not have
    "house",
]
TINY = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 40, "max_length": 40,
    "activation_function": "swish", "scale_embedding": True, "num_beams": 4, "early_stopping": "never",
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "opus": {},
    "relu, one head, not scaled": {
        "activation_function": "relu", "encoder_attention_heads": 1, "decoder_attention_heads": 1,
        "scale_embedding": False,
    },
    "three encoder layers, one decoder layer": {"encoder_layers": 3, "decoder_layers": 1},
    "gelu, one layer, wide": {
        "updates": 120, "activation_function": "gelu", "encoder_layers": 1, "decoder_layers": 1,
        "d_model": 24, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
    },
    "no length penalty, beam 2": {"length_penalty": 0.0, "num_beams": 2, "activation_function": "gelu_new"},
    "greedy": {"num_beams": 1},
    "outputs that reach the maximum": {"num_beams": 1, "max_length": 6, "updates": 10},
    "no probability for padding": {"renormalize_logits": True, "pad_bias": 2.0},
}  # fmt: skip


@cache
def sentencepiece_model(language: str) -> bytes:
    """Return a SentencePiece model of one language."""
    model, lines = io.BytesIO(), TEXT[:3] if language == "en" else TEXT[3:]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3), model_writer=model, vocab_size=60, model_type="unigram", minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    return model.getvalue()


def write_vocabulary(folder: Path, codes: tuple[str, ...] = ()) -> dict[str, int]:
    """Write the tokenizer files of an OPUS-MT model, with `</s>` first and `<pad>` last."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["</s>", "<unk>", *codes]
    for language, name in (("en", "source.spm"), ("de", "target.spm")):
        data = sentencepiece_model(language)
        (folder / name).write_bytes(data)
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
        pieces += model.id_to_piece(list(range(model.vocab_size())))
    vocab = {piece: token for token, piece in enumerate([*dict.fromkeys(pieces), "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    return vocab


def make_marian(folder: Path, updates: int = 0, pad_bias: float = 0.0, **settings: Any) -> Any:
    """Write a Marian model with random weights, trained for some updates so that its outputs end; return it."""
    vocab = write_vocabulary(folder)
    pad, end = vocab["<pad>"], vocab["</s>"]
    ids = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": end, "forced_eos_token_id": None}
    names = ("max_length", "num_beams", "early_stopping", "length_penalty", "renormalize_logits")
    settings = TINY | settings
    if settings["num_beams"] == 1:
        settings.pop("early_stopping")
    generation = {name: settings.pop(name) for name in names if name in settings} | ids
    torch.manual_seed(3)
    model = transformers.MarianMTModel(transformers.MarianConfig(vocab_size=len(vocab), **settings, **ids)).eval()
    weights = [parameter for name, parameter in model.named_parameters() if "embed_positions" not in name]
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.1 * torch.randn_like(weight))
        model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
        model.final_logits_bias[0, pad] = pad_bias
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    batch = tokenizer(SOURCES, text_target=TEXT[1:], return_tensors="pt", padding=True)
    batch["labels"][batch["labels"] == pad] = -100
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(updates):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config = transformers.GenerationConfig(**generation, bad_words_ids=[[pad], [vocab["<unk>"]]])
    model.save_pretrained(folder)
    return model


def run(monkeypatch: pytest.MonkeyPatch, *args: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, args)])
    convert.main()


def token_order(marian_folder: Path, folder: Path) -> list[int]:
    """Return Marian's id of each token, without our padding."""
    vocab = json.loads((marian_folder / "vocab.json").read_text())
    pieces = SentencePiecePair(folder / "tokenizer.model").pieces
    return [vocab["<pad>" if token == BOS_ID else piece] for token, piece in enumerate(pieces) if token != PAD_ID]


@pytest.mark.parametrize("name", SHAPES)
def test_marian_gives_same_logits_and_translations(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_marian(tmp_path / "a", **{"updates": 80} | SHAPES[name])
    run(monkeypatch, "--from", "marian", tmp_path / "a", tmp_path / "b")
    theirs = transformers.MarianTokenizer.from_pretrained(tmp_path / "a")
    translator = Translator.from_pretrained(tmp_path / "b", device="cpu", prepack=False)
    order = token_order(tmp_path / "a", tmp_path / "b")
    marian_id = dict(enumerate(order, start=1))

    inputs = theirs(SOURCES, return_tensors="pt", padding=True)
    encoded = translator.encode(SOURCES)
    assert [[marian_id[token] for token in ids] for ids in encoded] == [theirs(text)["input_ids"] for text in SOURCES]

    model, _ = load_pretrained(tmp_path / "b")
    tgt_BL = torch.randint(UNK_ID, len(order), (len(SOURCES), 7)).index_fill(1, torch.tensor([0]), BOS_ID)
    src_BM = torch.full(inputs["input_ids"].shape, PAD_ID)
    for row, ids in zip(src_BM, encoded, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    found = model(src_BM, src_BM != PAD_ID, tgt_BL)
    theirs_tgt = torch.tensor([[marian_id[token] for token in row] for row in tgt_BL.tolist()])
    with torch.no_grad():
        expected = original(**inputs, decoder_input_ids=theirs_tgt).logits[..., order]
    if original.generation_config.renormalize_logits:
        assert (found[..., [UNK_ID, BOS_ID]] < 0.9 * FORBIDDEN_LOGIT).all()
        expected[..., [UNK_ID - 1, BOS_ID - 1]] = found[..., [UNK_ID, BOS_ID]]
    torch.testing.assert_close(found[..., 1:], expected, atol=1e-4, rtol=0)
    assert (found[..., PAD_ID] < 0.9 * FORBIDDEN_LOGIT).all()

    out = original.generate(**inputs, return_dict_in_generate=True, output_scores=True)
    own = [best for [best] in translator.ids.translate(encoded)]
    end = original.config.eos_token_id
    ids = [row[1 : row.index(end) + 1] if end in row else row[1:] for row in out.sequences.tolist()]
    same = [ids == [marian_id[token] for token in t.tokens] for t, ids in zip(own, ids, strict=True)]
    if original.generation_config.num_beams == 1:
        assert all(same)
    else:  # transformers takes an ending from the best `beam` continuations only, so it can miss a better output
        assert sum(same) >= 2
        rows = list(zip(own, out.sequences_scores.tolist(), ids, same, strict=True))
        assert all(abs(t.score - score) < 1e-4 for t, score, _, equal in rows if equal)
        assert all(t.score > score for t, score, row, equal in rows if not equal and row[-1] == end)
    texts = theirs.batch_decode(out.sequences, skip_special_tokens=True)
    assert [t.text for t, equal in zip(own, same, strict=True) if equal] == [
        text for text, equal in zip(texts, same, strict=True) if equal
    ]
    assert len({t.tokens for t in own}) > 1, "outputs worth comparing"


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian") / "a"
    make_marian(folder)
    return folder


def copy(folder: Path, output: Path, **settings: Any) -> Path:
    """Copy a Marian folder with other settings."""
    shutil.copytree(folder, output)
    about = json.loads((output / "config.json").read_text()) | settings
    (output / "config.json").write_text(json.dumps(about))
    return output


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "silu", "output_bias": True, "scale_embedding": False}, {"norm": "pre", "n_decoder_layers": 2}],
    ids=str,
)
def test_exported_model_gives_same_logits_and_translations_in_transformers(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "a")
    _, config = load_pretrained(folder)
    model = Transformer(replace(config, **changes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    decode = {"beam": 3, "length_penalty": "length", "alpha": 0.7}
    save_pretrained(folder, model, folder / "tokenizer.model", "A test.", ("en", "de"), decode=decode)
    run(monkeypatch, "--to", "pegasus" if model.config.norm == "pre" else "marian", folder, tmp_path / "b")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "b")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    translator = Translator.from_pretrained(folder, device="cpu", prepack=False)
    encoded = translator.encode(SOURCES)
    inputs = tokenizer(SOURCES, return_tensors="pt", padding=True)
    assert [tokenizer(text)["input_ids"] for text in SOURCES] == encoded
    tgt_BL = torch.randint(4, config.vocab_size, (len(SOURCES), 7)).index_fill(1, torch.tensor([0]), BOS_ID)
    with torch.no_grad():
        expected = model(inputs["input_ids"], inputs["attention_mask"].bool(), tgt_BL)
        torch.testing.assert_close(theirs(**inputs, decoder_input_ids=tgt_BL).logits, expected, atol=1e-4, rtol=0)
    greedy = Translator.from_pretrained(folder, DecodeConfig(beam=1, max_length=9), "cpu", prepack=False)
    out = theirs.generate(**inputs, num_beams=1, early_stopping=False, length_penalty=1.0, max_length=10)
    assert [t.text for [t] in greedy.ids.translate(encoded)] == [
        " ".join(text.split()) for text in tokenizer.batch_decode(out, skip_special_tokens=True)
    ]
    assert (theirs.generation_config.num_beams, theirs.generation_config.length_penalty) == (3, 0.7)
    if model.config.norm == "pre":
        return  # Pegasus is written only
    run(monkeypatch, "--from", "marian", tmp_path / "b", tmp_path / "c")
    again = load_pretrained(tmp_path / "c")[0]
    torch.testing.assert_close(again(inputs["input_ids"], inputs["attention_mask"].bool(), tgt_BL), expected)


@pytest.mark.parametrize(("norm", "model_type", "other"), [("pre", "marian", "pegasus"), ("post", "pegasus", "marian")])
def test_export_names_format_that_has_norm(
    norm: str, model_type: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "a")
    model = Transformer(replace(load_pretrained(folder)[1], norm=norm))
    save_pretrained(folder, model, folder / "tokenizer.model", "A test.", ("en", "de"))
    with pytest.raises(
        InputError, match=rf"model\.norm is {norm}, but .* Write --to {other} instead of --to {model_type}"
    ):
        run(monkeypatch, "--to", model_type, folder, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(("en", "de") not in included_models(), reason="this checkout includes no model")
def test_included_model_gives_same_translations_in_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's own beam, with the length penalty of transformers: n^alpha."""
    folder = included_models()["en", "de"]
    run(monkeypatch, "--to", "pegasus", folder, tmp_path / "b")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "b")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    lines = ["Where is the station?", "The pizza came out of the oven and it tasted good.", "The file cannot be saved."]
    out = theirs.generate(**tokenizer(lines, return_tensors="pt", padding=True))
    settings = replace(read_decode_config(folder), length_penalty="length")
    translator = Translator.from_pretrained(folder, settings, "cpu", prepack=False)
    assert tokenizer.batch_decode(out, skip_special_tokens=True) == translator(lines)


def test_converted_model_returns_to_transformers(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--from", "marian", marian, tmp_path / "b")
    run(monkeypatch, "--to", "marian", tmp_path / "b", tmp_path / "c")
    before, after = (transformers.MarianMTModel.from_pretrained(folder) for folder in (marian, tmp_path / "c"))
    theirs, tokenizer = (transformers.MarianTokenizer.from_pretrained(folder) for folder in (marian, tmp_path / "c"))
    order = torch.tensor(token_order(marian, tmp_path / "b"))
    start = torch.tensor([[before.config.decoder_start_token_id]])
    with torch.no_grad():
        expected = before(**theirs(SOURCES[:1], return_tensors="pt"), decoder_input_ids=start).logits[..., order]
        found = after(**tokenizer(SOURCES[:1], return_tensors="pt"), decoder_input_ids=torch.tensor([[BOS_ID]])).logits
    torch.testing.assert_close(found[..., 1:], expected, atol=1e-5, rtol=0)
    out = after.generate(**tokenizer(SOURCES[:1], return_tensors="pt"))
    assert "<" not in tokenizer.decode(out[0], skip_special_tokens=True)


def test_import_reads_pickled_weights(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = copy(marian, tmp_path / "a")
    tensors = transformers.MarianMTModel.from_pretrained(marian).state_dict()
    (old / "model.safetensors").unlink()
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, old / "pytorch_model.bin")
    run(monkeypatch, "--from", "marian", old, tmp_path / "b")
    run(monkeypatch, "--from", "marian", marian, tmp_path / "c")
    for (name, found), expected in zip(
        load_pretrained(tmp_path / "b")[0].named_parameters(),
        load_pretrained(tmp_path / "c")[0].parameters(),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3, msg=name)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def test_import_does_not_run_pickled_code(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old = copy(marian, tmp_path / "a")
    (old / "model.safetensors").unlink()
    torch.save({"model.shared.weight": Evil()}, old / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin cannot be read: damaged, or not only tensors"):
        run(monkeypatch, "--from", "marian", old, tmp_path / "b")
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation_function": "tanh"}, 'activation_function is "tanh"; only silu, swish'),
        ({"decoder_layers": 0}, "model.n_decoder_layers is 0; it must be at least 1"),
        ({"decoder_ffn_dim": 8}, "decoder_ffn_dim is 8; it must be 32 as encoder_ffn_dim"),
        ({"normalize_before": True}, "normalize_before is true; only false is supported"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings is false"),
        ({"decoder_vocab_size": 7}, "decoder_vocab_size is 7"),
        ({"positions": "rotary"}, "positions is not a setting of Marian that this project supports"),
        ({"model_type": "bart"}, 'its model_type is "bart", not "marian"'),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size is 3, which is not supported"),
        ({"vocab_size": 20, "decoder_vocab_size": 20}, "the vocabulary of the weights does not have 20 tokens"),
        ({"d_model": 15}, "model.d_model 15"),
        ({"pad_token_id": 1}, "does not fit vocab.json"),
    ],
)
def test_import_rejects_unsupported_setting(
    settings: dict[str, Any], message: str, marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=message):
        run(monkeypatch, "--from", "marian", copy(marian, tmp_path / "a", **settings), tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", "[3]", "generation_config.json must contain a JSON object, not list"),
        ("generation_config.json", '{"num_beams": "x"}', 'num_beams is "x"; it must be an integer'),
        ("generation_config.json", '{"num_beams": 0}', "num_beams is 0; it must be at least 1"),
        ("generation_config.json", '{"max_length": -4}', "max_length is -4; it must be at least 2"),
        ("generation_config.json", '{"length_penalty": "x"}', 'length_penalty is "x"; it must be a number'),
        ("generation_config.json", '{"bad_words_ids": 3}', "bad_words_ids is 3; it must be a list"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json must contain a JSON object, not list"),
        ("vocab.json", "[]", "vocab.json must contain a JSON object, not list"),
        ("source.spm", "", "a/source.spm is not a SentencePiece model, or is damaged"),
        ("target.spm", "junk", "a/target.spm is not a SentencePiece model, or is damaged"),
    ],
)
def test_import_rejects_damaged_file(
    name: str, content: str, message: str, marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(marian, tmp_path / "a")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        run(monkeypatch, "--from", "marian", folder, tmp_path / "b")


def test_import_rejects_other_positions(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(marian, tmp_path / "a")
    tensors = load_file(folder / "model.safetensors") | {"model.encoder.embed_positions.weight": torch.ones(40, 16)}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.encoder\.embed_positions\.weight is not sinusoidal"):
        run(monkeypatch, "--from", "marian", folder, tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [("norm", "pre"), ("norm_kind", "rms"), ("tying", "none"), ("positions", "rotary"), ("activation", "swiglu"),
     ("n_kv_heads", 1), ("d_head", 6), ("architecture", "gpt"), *((name, "future") for name in
     ("norm", "positions", "activation", "tying", "norm_kind"))],
)  # fmt: skip
def test_check_exportable_rejects_what_marian_does_not_have(name: str, value: object) -> None:
    config = replace(ModelConfig(d_model=16, n_heads=4))
    check_exportable(config)
    object.__setattr__(config, name, value)
    with pytest.raises(ValueError, match=f"model.{name} is {value}, but Marian supports only"):
        check_exportable(config)


def test_marian_lists_every_model_field() -> None:
    assert marian_format._SUPPORTED.keys() == ModelConfig.__dataclass_fields__.keys()


def test_marian_tensors_rejects_unknown_weight() -> None:
    model = Transformer(ModelConfig(vocab_size=9, d_model=16, n_layers=1, n_heads=2, d_ff=8))
    model.register_parameter("extra", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match="has the weight extra"):
        marian_tensors(model)


def test_language_code_is_one_token_and_keeps_line_whole(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(marian, tmp_path / "a")
    vocab = json.loads((folder / "vocab.json").read_text())
    vocab[">>deu<<"] = vocab.pop("z" if "z" in vocab else "x" if "x" in vocab else sorted(vocab)[-3])
    (folder / "vocab.json").write_text(json.dumps(vocab))
    run(monkeypatch, "--from", "marian", folder, tmp_path / "b")
    translator = Translator.from_pretrained(tmp_path / "b", device="cpu")
    [ids] = translator.encode([">>deu<< The house. A dog."])
    assert translator.tokenizer.decode_text(ids[:1]) == ">>deu<<"
    assert not translator.config.split_sentences


def test_characters_outside_vocabulary_give_note(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--from", "marian", marian, tmp_path / "b")
    translator = Translator.from_pretrained(tmp_path / "b", device="cpu")
    lines, notes = ["The house.", "The \u4e2d house.", "\U0001f600", "A \u4e2d dog."], []
    translator.translate(lines, note=notes.append)
    expected = "lines 2, 4 have characters that the model's vocabulary does not have"
    assert [note for note in notes if note.startswith(expected)] == notes != []
    writer = TranslationWriter(translator)
    writer.write(io.StringIO(), lines[1:2], first_line=7)
    writer.print_notes()
    assert "note: line 7 has characters that the model's vocabulary does not have" in capsys.readouterr().err


def test_scores_use_target_model(marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--from", "marian", marian, tmp_path / "b")
    translator = Translator.from_pretrained(tmp_path / "b", device="cpu", prepack=False)
    [[best]] = translator.translate(["The cat sees the small house."])
    [score] = Scorer(translator).score(["The cat sees the small house."], [best.text[:9]])
    assert [piece["text"] for piece in score.details(translator.tokenizer)][-1] == ""
    tokenizer = SentencePiecePair(tmp_path / "b" / "tokenizer.model")
    text = "Der Hund kauft ein altes Buch."
    target = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model("de"))
    [ids] = tokenizer.encode_target([text])
    assert [tokenizer.pieces[token] for token in ids] == [*target.encode(text, out_type=str), "</s>"]
    assert tokenizer.decode([[BOS_ID, *ids, PAD_ID]]) == [text]
    assert ids[-1] == EOS_ID


def test_tokenizer_rejects_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text('{"type": "sentencepiece-pair", "source": "x"}')
    with pytest.raises(ValueError, match=r"tokenizer\.model does not contain two SentencePiece models"):
        SentencePiecePair(tmp_path / "tokenizer.model")
