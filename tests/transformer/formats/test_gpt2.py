"""GPT-2 of the library transformers: equal logits after conversion, and an error for every difference."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.tiny_gpt2 import CONFIG, VOCAB, make_gpt2_folder
from transformer.config import ModelConfig
from transformer.formats.gpt2 import (
    check_exportable,
    from_gpt2,
    gpt2_settings,
    model_config,
    read_gpt2,
    to_gpt2,
)
from transformer.model import GPT, Transformer, count_parameters
from transformer.weights import get_weights

SETTINGS = gpt2_settings(CONFIG)


def hf_gpt2(**changes: Any) -> Any:
    """Return a small `GPT2LMHeadModel`. Its random weights are large, so that every weight changes the logits."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    end = len(VOCAB) - 1
    settings = {"vocab_size": len(VOCAB), "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4}
    config = transformers.GPT2Config(
        **{**settings, "initializer_range": 0.3, "bos_token_id": end, "eos_token_id": end, **changes}
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    for name, parameter in model.named_parameters():
        if ".ln_" in name or name.endswith("bias"):  # initialised with ones and zeros
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.3)
    return model


def own_gpt2(**changes: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(replace(CONFIG, **changes)).eval()


def some_tokens() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, len(VOCAB), (2, 64))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as transformers writes it, written without transformers."""
    return make_gpt2_folder(tmp_path / "gpt2")


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
def test_from_gpt2_keeps_logits(changes: dict[str, Any]) -> None:
    model = hf_gpt2(**changes)
    expected = model(some_tokens()).logits
    assert expected.std() > 1
    torch.testing.assert_close(from_gpt2(model)(some_tokens()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changes", VARIATIONS, ids=str)
def test_to_gpt2_inverts_from_gpt2_exactly(changes: dict[str, Any]) -> None:
    model = hf_gpt2(**changes)
    back = to_gpt2(from_gpt2(model)).state_dict()
    assert back.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("changes", [{}, {"tying": "none"}, {"activation": "relu"}, {"d_head": 12, "n_kv_heads": 4}])
def test_to_gpt2_keeps_logits(changes: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    model = own_gpt2(**changes)
    torch.testing.assert_close(to_gpt2(model)(some_tokens()).logits, model(some_tokens()), rtol=1e-5, atol=1e-5)


def test_gpt2_conversion_copies_weights_in_both_directions() -> None:
    model = hf_gpt2()
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
def test_model_config_keeps_parameter_count_of_each_gpt2_size(n_layer: int, n_head: int, n_embd: int) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    with torch.device("meta"):
        own, hf = GPT(model_config(config.to_dict())), transformers.GPT2LMHeadModel(config)
    assert count_parameters(own) == hf.num_parameters()


@pytest.mark.parametrize("changes", [{}, {"tying": "none"}, {"activation": "gelu"}, {"dropout": 0.0}, {"d_ff": 100}])
def test_model_config_inverts_gpt2_settings(changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    assert model_config(gpt2_settings(config)) == config


def test_model_config_accepts_settings_of_published_gpt2_medium() -> None:
    """The fields of gpt2-medium, gpt2-large and gpt2-xl on the Hub; gpt2 has fewer."""
    settings = {
        **{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1},
        **{"bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02},
        **{"layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 1024, "n_head": 16},
        **{"n_layer": 24, "n_positions": 1024, "n_special": 0, "output_past": True, "predict_special_tokens": True},
        **{"resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1, "summary_type": "cls_index"},
        **{"summary_proj_to_labels": True, "summary_use_proj": True, "vocab_size": 50257},
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    }
    config = model_config(settings)
    assert (config.d_model, config.n_layers, config.d_ff, config.tying) == (1024, 24, 4096, "output")


def test_model_config_sets_d_ff_to_4_n_embd_if_n_inner_is_null() -> None:
    assert model_config(SETTINGS | {"n_inner": None}).d_ff == 4 * 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "silu"}, 'activation_function is "silu"; only gelu_pytorch_tanh, '),
        ({"scale_attn_weights": False}, "scale_attn_weights is false; only true is supported"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true"),
        ({"add_cross_attention": True}, "add_cross_attention is true"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06; only 1e-05 is supported"),
        ({"n_embd": "wide"}, 'n_embd is "wide"; it must be an integer'),
        ({"n_inner": 96.0}, "n_inner is 96.0; it must be an integer"),
        ({"n_layer": None}, "n_layer is null; it must be an integer"),
        ({"resid_pdrop": "x"}, 'resid_pdrop is "x"; it must be a number'),
        ({"n_head": 5}, "is not divisible by"),
        ({"pruned_heads": {"0": [1]}}, r'pruned_heads is {"0": \[1\]}, which is not supported'),
        ({"quantization_config": {"bits": 4}}, "quantization_config is .* not supported"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is true, which is not supported"),
        ({"n_special": 3}, "n_special is 3, which is not supported"),
        ({"alibi": True}, "alibi is not a setting of GPT-2"),
    ],
)
def test_model_config_rejects_unsupported_gpt2_setting(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_config(SETTINGS | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "transformer"}, "model.architecture is transformer, but GPT-2 supports only gpt"),
        ({"norm": "post"}, "model.norm is post"),
        ({"norm_kind": "rms"}, "model.norm_kind is rms"),
        ({"positions": "rotary"}, "model.positions is rotary"),
        ({"positions": "sinusoidal"}, "model.positions is sinusoidal"),
        ({"scale_embedding": True}, "model.scale_embedding is True"),
        ({"n_kv_heads": 2}, "model.n_kv_heads is 2, but GPT-2 supports only model.n_heads"),
        ({"d_head": 10}, "model.d_head is 10, but GPT-2 supports only model.d_model / model.n_heads"),
        ({"activation": "swiglu"}, "model.activation is swiglu, but GPT-2 supports only gelu_tanh or gelu or relu"),
    ],
)
def test_to_gpt2_rejects_model_that_differs_from_gpt2(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_gpt2(own_gpt2(**change) if "architecture" not in change else Transformer(replace(CONFIG, **change)))  # type: ignore[arg-type]


def test_to_gpt2_rejects_unknown_weight() -> None:
    model = own_gpt2()
    model.register_parameter("extra", nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match="has the weight extra"):
        to_gpt2(model)


@pytest.mark.parametrize("name", ["norm", "positions", "activation", "tying", "norm_kind"])
def test_check_exportable_rejects_unknown_value(name: str) -> None:
    config = replace(CONFIG)
    object.__setattr__(config, name, "future")
    with pytest.raises(ValueError, match=f"model.{name} is future, but GPT-2 supports only"):
        check_exportable(config)


def test_check_exportable_rejects_unknown_field_with_new_value() -> None:
    @dataclass(frozen=True)
    class Future(ModelConfig):
        n_experts: int = 1

    check_exportable(Future(**CONFIG.__dict__))
    with pytest.raises(ValueError, match=r"model\.n_experts is 4, but GPT-2 supports only 1"):
        check_exportable(Future(**CONFIG.__dict__, n_experts=4))


def test_to_gpt2_fails_if_transformers_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"transformers is not installed\. Run: pip install transformers"):
        to_gpt2(own_gpt2())


def test_read_gpt2_inverts_write_gpt2(source: Path) -> None:
    model = read_gpt2(source)
    assert model.config == CONFIG
    assert not model.training
    for name, tensor in get_weights(own_gpt2()).items():
        assert torch.equal(get_weights(model)[name], tensor), name


def test_read_gpt2_accepts_weight_names_of_older_versions(source: Path) -> None:
    file = source / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    tensors["h.0.attn.bias"], tensors["h.0.attn.masked_bias"] = torch.ones(1, 1, 64, 64), torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, file)
    torch.testing.assert_close(read_gpt2(source)(some_tokens()), own_gpt2()(some_tokens()), rtol=0, atol=0)


def test_read_gpt2_reads_several_weight_files(source: Path) -> None:
    hf_gpt2().save_pretrained(source / "several", max_shard_size="100KB")
    assert len(list((source / "several").glob("*.safetensors"))) > 2
    torch.testing.assert_close(
        read_gpt2(source / "several")(some_tokens()), hf_gpt2()(some_tokens()).logits, rtol=1e-5, atol=1e-5
    )


def test_read_gpt2_converts_half_precision_to_float32(source: Path) -> None:
    file = source / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    assert {tensor.dtype for tensor in get_weights(read_gpt2(source)).values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, 'does not describe a GPT-2: its model_type is "bert"'),
        ({"model_type": None}, "does not describe a GPT-2: its model_type is null"),
        ({"n_layer": 10**9}, "model.n_layers is 1000000000; it must be at most 1,000"),
        ({"n_layer": 999}, "the weights are too few for 999 layers"),
        ({"n_layer": 4}, r"the weights have no h\.3\."),
        ({"n_layer": 2}, r"the weights contain h\.2\..*, which a GPT-2 language model does not have"),
        ({"vocab_size": 10**6}, "embedding.tokens.weight has the shape .* it must be"),
        ({"n_inner": 10**6}, "has the shape .* it must be"),
        ({"scale_attn_weights": False}, "scale_attn_weights is false"),
        ({"tie_word_embeddings": False}, r"the weights have no lm_head\.weight"),
    ],
)
def test_read_gpt2_rejects_settings_that_do_not_fit(source: Path, change: dict[str, Any], message: str) -> None:
    rewrite(source, change)
    with pytest.raises(ValueError, match=message):
        read_gpt2(source)


def test_read_gpt2_rejects_tied_output_layer_with_other_values(source: Path) -> None:
    file = source / "model.safetensors"
    save_file(load_file(file) | {"lm_head.weight": torch.ones(len(VOCAB), 48)}, file)
    with pytest.raises(ValueError, match="tie_word_embeddings"):
        read_gpt2(source)


def test_read_gpt2_fails_if_config_json_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        read_gpt2(tmp_path)


def test_read_gpt2_rejects_invalid_json(source: Path) -> None:
    (source / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged: it is not valid JSON"):
        read_gpt2(source)


def test_read_gpt2_rejects_pickled_weights(source: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors\. GPT2LMHeadModel\.from_pretrained"):
        read_gpt2(source)


def test_read_gpt2_rejects_truncated_weights(source: Path) -> None:
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"the model in .* cannot be read"):
        read_gpt2(source)
