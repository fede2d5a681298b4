"""GPT-2 of the library transformers: the same function here and there, and nothing that differs goes unsaid."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_pipeline.tokenizers.byte_pair import BYTE_NAMES, BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from evaluate.config import SampleConfig
from evaluate.generator import Generator
from transformer import convert as convert_gpt2
from transformer.config import ModelConfig
from transformer.formats.gpt2 import from_gpt2, gpt2_settings, model_config, read_gpt2, to_gpt2, write_gpt2
from transformer.model import GPT, Transformer, count_parameters
from transformer.pretrained import FILES, load_pretrained, save_pretrained, weights

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "c")]
NAMES = [*BYTE_NAMES.values(), *(first + second for first, second in MERGES), "<|endoftext|>"]
VOCAB = {name: i for i, name in enumerate(NAMES)}
CONFIG = ModelConfig(
    architecture="gpt",
    vocab_size=len(VOCAB),
    d_model=48,
    n_layers=3,
    n_heads=4,
    d_ff=96,
    norm="pre",
    positions="learned",
    activation="gelu_tanh",
    tying="output",
    scale_embedding=False,
    init="gpt2",
    max_len=64,
)
SETTINGS = gpt2_settings(CONFIG)


def theirs(**changes: Any) -> Any:
    """A small `GPT2LMHeadModel`; its random weights are large, so that every part of it matters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    end = len(VOCAB) - 1
    settings = {"vocab_size": len(VOCAB), "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4}
    config = transformers.GPT2Config(
        **{**settings, "initializer_range": 0.3, "bos_token_id": end, "eos_token_id": end, **changes}
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    for name, parameter in model.named_parameters():
        if ".ln_" in name or name.endswith("bias"):  # which start as ones and zeros
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.3)
    return model


def ours(**changes: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(replace(CONFIG, **changes)).eval()


def some_tokens() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, len(VOCAB), (2, 64))


def run(monkeypatch: pytest.MonkeyPatch, *args: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["convert_gpt2", *map(str, args)])
    convert_gpt2.main()


def write_vocabulary(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(VOCAB), encoding="utf-8")
    merges = "".join(f"{first} {second}\n" for first, second in MERGES)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a GPT-2 as the library would write it, written without the library."""
    folder = tmp_path / "gpt2"
    write_gpt2(folder, ours(), len(VOCAB) - 1)
    write_vocabulary(folder)
    return folder


def rewrite(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


VARIATIONS: list[dict[str, Any]] = [
    {"n_head": 1},
    {"n_head": 3, "n_inner": 80},
    {"n_head": 12},
    {"tie_word_embeddings": False},
    {"activation_function": "gelu_pytorch_tanh"},
    {"activation_function": "gelu"},
    {"activation_function": "relu"},
    {"reorder_and_upcast_attn": True},
]


@pytest.mark.parametrize("changes", VARIATIONS, ids=str)
def test_a_gpt2_has_the_same_logits_here(changes: dict[str, Any]) -> None:
    model = theirs(**changes)
    expected = model(some_tokens()).logits
    assert expected.std() > 1
    torch.testing.assert_close(from_gpt2(model)(some_tokens()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", VARIATIONS, ids=str)
def test_a_gpt2_that_was_here_comes_back_bit_for_bit(changes: dict[str, Any]) -> None:
    model = theirs(**changes)
    back = to_gpt2(from_gpt2(model)).state_dict()
    assert back.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("changes", [{}, {"tying": "none"}, {"activation": "relu"}, {"d_head": 12, "n_kv_heads": 4}])
def test_a_gpt_of_ours_has_the_same_logits_there(changes: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    model = ours(**changes)
    torch.testing.assert_close(to_gpt2(model)(some_tokens()).logits, model(some_tokens()), rtol=1e-5, atol=1e-5)


def test_both_ways_give_weights_of_their_own() -> None:
    model = theirs()
    converted = from_gpt2(model)
    back = to_gpt2(converted)
    expected = converted(some_tokens()).detach()
    with torch.no_grad():
        for parameter in [*model.parameters(), *back.parameters()]:
            parameter.zero_()
    assert torch.equal(converted(some_tokens()), expected)


@pytest.mark.parametrize(
    ("n_layer", "n_head", "n_embd"), [(12, 12, 768), (24, 16, 1024), (36, 20, 1280), (48, 25, 1600)]
)
def test_each_size_of_gpt2_has_as_many_parameters_here_as_there(n_layer: int, n_head: int, n_embd: int) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    with torch.device("meta"):
        here, there = GPT(model_config(config.to_dict())), transformers.GPT2LMHeadModel(config)
    assert count_parameters(here) == there.num_parameters()


@pytest.mark.parametrize("changes", [{}, {"tying": "none"}, {"activation": "gelu"}, {"dropout": 0.0}, {"d_ff": 100}])
def test_settings_there_and_back_are_the_same(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    assert model_config(gpt2_settings(config)) == config


def test_the_inner_width_is_four_times_the_outer_where_nothing_else_is_said() -> None:
    assert model_config(SETTINGS | {"n_inner": None}).d_ff == 4 * 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "silu"}, 'activation_function is "silu"; this project\'s GPT has gelu_pytorch_tanh, '),
        ({"scale_attn_weights": False}, "scale_attn_weights is false; this project's GPT has true only"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true"),
        ({"add_cross_attention": True}, "add_cross_attention is true"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06; this project's GPT has 1e-05 only"),
        ({"n_embd": "wide"}, 'n_embd is "wide"; it must be an integer'),
        ({"n_inner": 96.0}, "n_inner is 96.0; it must be an integer"),
        ({"n_layer": None}, "n_layer is null; it must be an integer"),
        ({"resid_pdrop": "x"}, 'resid_pdrop is "x"; it must be a number'),
        ({"n_head": 5}, "cannot be shared equally"),
    ],
)
def test_a_setting_without_its_like_here_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_config(SETTINGS | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "transformer"}, "model.architecture is transformer; a GPT-2 of this size has gpt only"),
        ({"norm": "post"}, "model.norm is post"),
        ({"norm_kind": "rms"}, "model.norm_kind is rms"),
        ({"positions": "rotary"}, "model.positions is rotary"),
        ({"positions": "sinusoidal"}, "model.positions is sinusoidal"),
        ({"scale_embedding": True}, "model.scale_embedding is True"),
        ({"n_kv_heads": 2}, "model.n_kv_heads is 2; a GPT-2 of this size has 4 only"),
        ({"d_head": 10}, "model.n_heads times model.d_head is 40; a GPT-2 of this size has 48 only"),
        ({"activation": "swiglu"}, "model.activation is swiglu; a GPT-2 has gelu_tanh, gelu, relu only"),
    ],
)
def test_a_model_that_is_no_gpt2_in_shape_does_not_go_there(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_gpt2(ours(**change) if "architecture" not in change else Transformer(replace(CONFIG, **change)))  # type: ignore[arg-type]


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r'pip install "paper-transformer\[gpt2\]"'):
        to_gpt2(ours())


def test_a_folder_read_is_the_model_that_was_written(source: Path) -> None:
    model = read_gpt2(source)
    assert model.config == CONFIG
    assert not model.training
    for name, tensor in weights(ours()).items():
        assert torch.equal(weights(model)[name], tensor), name


def test_weights_as_older_versions_stored_them_are_read(source: Path) -> None:
    file = source / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    tensors["h.0.attn.bias"], tensors["h.0.attn.masked_bias"] = torch.ones(1, 1, 64, 64), torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, file)
    torch.testing.assert_close(read_gpt2(source)(some_tokens()), ours()(some_tokens()), rtol=0, atol=0)


def test_weights_in_several_pieces_are_read(source: Path) -> None:
    theirs().save_pretrained(source / "pieces", max_shard_size="100KB")
    assert len(list((source / "pieces").glob("*.safetensors"))) > 2
    torch.testing.assert_close(
        read_gpt2(source / "pieces")(some_tokens()), theirs()(some_tokens()).logits, rtol=1e-5, atol=1e-5
    )


def test_half_precision_becomes_the_type_of_our_models(source: Path) -> None:
    file = source / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    assert {tensor.dtype for tensor in weights(read_gpt2(source)).values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, 'does not describe a GPT-2: its model_type is "bert"'),
        ({"model_type": None}, "does not describe a GPT-2: its model_type is null"),
        ({"n_layer": 10**9}, "the weights are too few for 1000000000 layers"),
        ({"n_layer": 4}, r"the weights lack h\.3\."),
        ({"n_layer": 2}, r"the weights hold h\.2\..*, which a GPT-2 language model does not have"),
        ({"vocab_size": 10**9}, "embedding.tokens.weight is .* and should be"),
        ({"n_inner": 10**12}, "is .* and should be"),
        ({"scale_attn_weights": False}, "scale_attn_weights is false"),
        ({"tie_word_embeddings": False}, r"the weights lack lm_head\.weight"),
    ],
)
def test_a_folder_of_another_model_is_refused(source: Path, change: dict[str, Any], message: str) -> None:
    rewrite(source, change)
    with pytest.raises(ValueError, match=message):
        read_gpt2(source)


def test_an_output_layer_that_is_tied_by_name_only_is_refused(source: Path) -> None:
    file = source / "model.safetensors"
    save_file(load_file(file) | {"lm_head.weight": torch.ones(len(VOCAB), 48)}, file)
    with pytest.raises(ValueError, match="tie_word_embeddings"):
        read_gpt2(source)


def test_a_folder_without_config_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"it has no config\.json"):
        read_gpt2(tmp_path)


def test_a_config_that_is_no_json_is_refused(source: Path) -> None:
    (source / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        read_gpt2(source)


def test_weights_that_are_pickled_are_not_read_and_the_way_out_is_said(source: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors; GPT2LMHeadModel\.from_pretrained"):
        read_gpt2(source)


def test_truncated_weights_are_refused(source: Path) -> None:
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"the model in .* cannot be read"):
        read_gpt2(source)


def test_the_command_makes_a_model_folder_that_continues_text_as_the_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    model = theirs()
    model.save_pretrained(tmp_path / "a")
    write_vocabulary(tmp_path / "a")
    run(monkeypatch, "import", tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(FILES)

    generator = Generator.from_pretrained(tmp_path / "b", "cpu")
    prompt = "the cat, the dog"
    ids = generator.tokenizer.encode_text(prompt)
    out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=30, pad_token_id=0)[0, len(ids) :]
    assert len(set(out.tolist())) > 5, "a continuation worth comparing"
    [[text]] = generator.generate([prompt], SampleConfig(temperature=0, max_tokens=30))
    assert text == generator.tokenizer.decode_text(out.tolist())


def test_the_command_writes_a_folder_that_the_library_reads(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers, _ = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    run(monkeypatch, "import", source, tmp_path / "a")
    run(monkeypatch, "export", tmp_path / "a", tmp_path / "b")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "b")
    torch.testing.assert_close(model(some_tokens()).logits, ours()(some_tokens()), rtol=1e-5, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    text = "the cat  in thé 中 <house>\n"
    expected = BytePairTokenizer(tmp_path / "a" / "tokenizer.model").encode_text(text)
    assert tokenizer(text)["input_ids"] == expected
    assert tokenizer.decode(expected) == text
    assert tokenizer.eos_token_id == model.config.eos_token_id == VOCAB["<|endoftext|>"]


@pytest.mark.parametrize("command", ["import", "export"])
def test_nothing_that_is_there_is_overwritten(source: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(ValueError, match="is there already"):
        run(monkeypatch, command, source, source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_model_with_another_vocabulary_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = CharTokenizer.learn(["abc"], tmp_path / "tokenizer.model")
    model = ours(vocab_size=tokenizer.vocab_size)
    save_pretrained(tmp_path / "model", model, tmp_path / "tokenizer.model", "A card")
    with pytest.raises(ValueError, match=r"a vocabulary other than byte pairs.*to_gpt2"):
        run(monkeypatch, "export", tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_no_gpt2_leaves_no_folder_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    run(monkeypatch, "import", source, tmp_path / "a")
    save_pretrained(tmp_path / "b", ours(norm="post"), tmp_path / "a" / "tokenizer.model", "A card")
    with pytest.raises(ValueError, match=r"model\.norm is post"):
        run(monkeypatch, "export", tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_translation_model_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spm").write_bytes(b"pieces")
    model = Transformer(ModelConfig(vocab_size=40, d_model=16, n_layers=1, n_heads=2, d_ff=32))
    save_pretrained(tmp_path / "model", model, tmp_path / "spm", "A card")
    with pytest.raises(ValueError, match="holds a translation model"):
        run(monkeypatch, "export", tmp_path / "model", tmp_path / "out")


def hub(monkeypatch: pytest.MonkeyPatch, knows: bool, cached: Path | None) -> None:
    """A hub that has the model or cannot be reached, and a cache that has it or not."""

    def model_info(self: object, name: str, timeout: float) -> None:
        if not knows:
            raise ConnectionError("several\nlines of the client")

    def snapshot_download(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert local_files_only is not knows
        assert name == "gpt2"
        if cached is None:
            raise OSError("several\nlines of the client")
        return str(cached)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


@pytest.mark.parametrize("knows", [False, True])
def test_a_model_of_the_hub_is_converted_and_its_cached_copy_where_the_hub_is_not_reached(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    pytest.importorskip("tokenizers")
    hub(monkeypatch, knows, source)
    run(monkeypatch, "import", "gpt2", tmp_path / "a")
    assert load_pretrained(tmp_path / "a")[1] == CONFIG


def test_a_hub_that_is_not_reached_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, knows=False, cached=None)
    with pytest.raises(FileNotFoundError) as caught:
        run(monkeypatch, "import", "gpt2", tmp_path / "a")
    assert str(caught.value) == (
        "there is no folder gpt2 here, and the Hugging Face hub has no such model or cannot be reached"
    )


def test_a_download_that_fails_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, knows=True, cached=None)
    with pytest.raises(FileNotFoundError, match=r"gpt2 could not be fetched from the Hugging Face hub: several$"):
        run(monkeypatch, "import", "gpt2", tmp_path / "a")


def test_a_path_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run(monkeypatch, "import", tmp_path / "nowhere", tmp_path / "a")
