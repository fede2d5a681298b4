"""Settings and weights of a GPT-2 (Radford et al., 2019) of the library `transformers`, to a `GPT` and back.

Both models compute the same function, so their logits are equal up to rounding. The layout differs: GPT-2 stores the
matrix of a layer as (in, out), this project as (out, in), and GPT-2 stores queries, keys and values as one matrix.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.errors import InputError
from common.files import replace_file, write_json
from transformer.config import ModelConfig
from transformer.formats.hugging_face import (
    GENERATION,
    OUTPUTS,
    TRAINING,
    check_fixed,
    check_known,
    find_folder_of,
    find_model_type,
    number,
)  # fmt: skip
from transformer.formats.supported import Values, check_supported
from transformer.model import GPT, Transformer
from transformer.weights import get_weights, save_tensors, set_weights

if TYPE_CHECKING:  # only `to_gpt2` needs the library itself
    from transformers import GPT2LMHeadModel

_FILES = ["config.json", "vocab.json", "merges.txt", "tokenizer.json", "model.safetensors", "model-*.safetensors"]

_ACTIVATIONS: dict[str, Literal["gelu_tanh", "gelu", "relu"]] = {
    "gelu_pytorch_tanh": "gelu_tanh",  # the same function as gelu_new, which is GPT-2's name
    "gelu_new": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
_SUPPORTED: dict[str, Values] = {
    "architecture": ("gpt",),
    "vocab_size": None,
    "d_model": None,
    "n_layers": None,
    "n_decoder_layers": (None,),
    "n_heads": None,
    "d_head": None,  # checked in `check_exportable`, with n_heads
    "d_value": (None,),
    "d_ff": None,
    "dropout": None,
    "attention_dropout": None,
    "activation_dropout": None,
    "norm": ("pre",),
    "positions": ("learned",),
    "activation": tuple(dict.fromkeys(_ACTIVATIONS.values())),
    "tying": ("all", "output", "none"),
    "norm_kind": ("layer",),
    "n_kv_heads": None,  # checked in `check_exportable`, with n_heads
    "scale_embedding": (False,),
    "init": None,
    "max_len": None,
}
"""For each field of ModelConfig, the values that a GPT-2 can have."""
_FIXED: dict[str, Any] = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "layer_norm_epsilon": 1e-5,
}
"""Settings of GPT-2 that have one value in this project, which is also GPT-2's default."""
_EMPTY = {"is_encoder_decoder", "pruned_heads", "quantization_config", "n_special"}
"""Settings that must be 0, false, empty or missing, because otherwise they change weights or logits."""
_READ = {
    "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function", "resid_pdrop",
    "tie_word_embeddings",
}  # fmt: skip
_KNOWN = _FIXED.keys() | _EMPTY | _READ | TRAINING | OUTPUTS | GENERATION
"""Settings that are read, or checked, or do not change the logits of a language model."""
_BLOCK = {
    "ln_1": ("self_residual.norm",),
    "attn.c_attn": ("self_attention.query", "self_attention.key", "self_attention.value"),
    "attn.c_proj": ("self_attention.out",),
    "ln_2": ("feed_forward_residual.norm",),
    "mlp.c_fc": ("feed_forward.inner",),
    "mlp.c_proj": ("feed_forward.outer",),
}
"""For each layer of a GPT-2 block, the layers of `TransformerBlock` that it consists of."""


def from_gpt2(model: GPT2LMHeadModel) -> GPT:
    """Return the same model as a `GPT`, in eval mode, with a copy of the weights.

    Raises InputError with the setting if `ModelConfig` does not support a variation of GPT-2.
    """
    return _make_gpt(model.config.to_dict(), model.state_dict())


def to_gpt2(model: Transformer | GPT) -> GPT2LMHeadModel:
    """Return the same model as transformers' GPT-2, in eval mode, with a copy of the weights.

    Raises InputError with the field if the model differs from GPT-2, and if transformers is not installed.
    """
    settings = gpt2_settings(model.config)
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise InputError("the package transformers is not installed. Run: pip install transformers") from error
    converted = GPT2LMHeadModel(GPT2Config(**settings))
    found = converted.load_state_dict(gpt2_tensors(model), strict=False)
    missing = set(found.missing_keys) - ({"lm_head.weight"} if model.config.tying != "none" else set())
    if odd := sorted(missing | set(found.unexpected_keys)):
        raise InputError(f"this version of transformers has other weights in a GPT-2, such as {odd[0]}")
    return converted.eval()


def find_gpt2(source: str) -> Path:
    """Return the folder of a GPT-2: the local folder, or else a download from the Hub."""
    return find_folder_of(source, _FILES, "a GPT-2", "gpt2")


def read_gpt2(folder: Path) -> GPT:
    """Return the model in a folder that transformers' `save_pretrained` wrote, in eval mode. Does not need
    transformers.

    Raises:
        FileNotFoundError: a file is missing.
        InputError: the folder contains another kind of model or an unsupported variation, or is damaged.
    """
    settings = find_model_type(folder, "gpt2", "a GPT-2")
    try:
        return _make_gpt(settings, _read_tensors(folder))
    except (SafetensorError, InputError) as error:
        raise InputError(f"the model in {folder} cannot be read: {error}") from error


def write_gpt2(folder: Path, model: Transformer | GPT, end_id: int | None) -> None:
    """Write the `config.json` and `model.safetensors` of transformers. The token `end_id` ends a document.

    Raises InputError with the field if the model differs from GPT-2.
    """
    about = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"} | gpt2_settings(model.config, end_id)
    tensors = gpt2_tensors(model)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", about)
    with replace_file(folder / "model.safetensors") as temporary:
        save_tensors(temporary, tensors)


def model_config(settings: dict[str, Any]) -> ModelConfig:
    """Return GPT-2's settings as a `ModelConfig`. Raises InputError with the setting if there is no equivalent."""
    check_fixed(settings, _FIXED)
    for name in sorted(_EMPTY):
        if settings.get(name):
            raise InputError(f"{name} is {json.dumps(settings[name], default=str)}, which is not supported")
    check_known(settings, _KNOWN, "GPT-2")
    activation = settings.get("activation_function")
    if activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise InputError(f"activation_function is {json.dumps(activation)}; only {known} are supported")
    n_embd = number(settings, "n_embd", int)
    return ModelConfig(
        architecture="gpt",
        vocab_size=number(settings, "vocab_size", int),
        d_model=n_embd,
        n_layers=number(settings, "n_layer", int),
        n_heads=number(settings, "n_head", int),
        d_ff=4 * n_embd if settings.get("n_inner") is None else number(settings, "n_inner", int),
        dropout=number(settings, "resid_pdrop", float),
        norm="pre",
        positions="learned",
        activation=_ACTIVATIONS[activation],
        tying="output" if settings.get("tie_word_embeddings", True) else "none",
        scale_embedding=False,
        init="gpt2",
        max_len=number(settings, "n_positions", int),
    )


def check_exportable(config: ModelConfig) -> None:
    """Raise InputError with the field if the model differs from GPT-2."""
    check_supported(config, _SUPPORTED, "GPT-2")
    if config.kv_heads != config.n_heads:
        raise InputError(f"model.n_kv_heads is {config.kv_heads}, but GPT-2 supports only model.n_heads")
    if config.n_heads * config.head_size != config.d_model:
        raise InputError(f"model.d_head is {config.head_size}, but GPT-2 supports only model.d_model / model.n_heads")


def gpt2_settings(config: ModelConfig, end_id: int | None = None) -> dict[str, Any]:
    """Return the settings of a model as GPT-2's. Raises InputError with the field if the model differs from GPT-2."""
    check_exportable(config)
    names: dict[str, str] = {activation: name for name, activation in _ACTIVATIONS.items()}
    return _FIXED | {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": names[config.activation],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "tie_word_embeddings": config.tying != "none",
        "bos_token_id": end_id,
        "eos_token_id": end_id,
    }


def gpt2_tensors(model: Transformer | GPT) -> dict[str, Tensor]:
    """Return the weights with GPT-2's names and layout. Raises InputError for a weight that GPT-2 does not have."""
    weights, layout = get_weights(model), _layout(model.config)
    if odd := sorted(weights.keys() ^ {own for names in layout.values() for own in names}):
        raise InputError(f"only one of GPT-2 and this model has the weight {odd[0]}")
    tensors = {}
    for name, own_names in layout.items():
        tensor = torch.cat([weights[own] for own in own_names])
        tensors[name] = (tensor.T if _is_transposed(name) else tensor).contiguous()
    return {name if name == "lm_head.weight" else f"transformer.{name}": tensors[name] for name in tensors}


def _make_gpt(settings: dict[str, Any], tensors: dict[str, Tensor]) -> GPT:
    config = model_config(settings)
    weights = _from_layout(config, {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()})
    with torch.device("meta"):  # check names and shapes before a model is allocated
        set_weights(GPT(config), weights)
    model = GPT(config)
    set_weights(model, weights)
    return model.eval()


def _from_layout(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if config.n_layers > len(tensors):
        raise InputError(f"the weights are too few for {config.n_layers} layers")
    layout, head = _layout(config), tensors.get("lm_head.weight")
    if missing := sorted(layout.keys() - tensors.keys()):
        raise InputError(f"the weights have no {missing[0]}")
    # Older versions also stored the causal mask, and the second name of a tied output layer.
    known = layout.keys() | {"lm_head.weight"}
    if odd := sorted(name for name in tensors.keys() - known if not name.endswith((".attn.bias", ".attn.masked_bias"))):
        raise InputError(f"the weights contain {odd[0]}, which a GPT-2 language model does not have")
    if config.tying != "none" and head is not None and not torch.equal(head, tensors["wte.weight"]):
        raise InputError("lm_head.weight differs from wte.weight. Set tie_word_embeddings to false in config.json")
    weights: dict[str, Tensor] = {}
    for name, own_names in layout.items():
        tensor = tensors[name].T if _is_transposed(name) else tensors[name]
        weights |= zip(own_names, tensor.tensor_split(len(own_names)), strict=True)
    return weights


def _layout(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Return, for GPT-2's name of each tensor, the names of the weights of a `GPT` that it consists of, in order."""
    layout: dict[str, tuple[str, ...]] = {
        "wte.weight": ("embedding.tokens.weight",),
        "wpe.weight": ("embedding.positions",),
    }
    for i in range(config.n_layers):
        for gpt2_layer, layers in _BLOCK.items():
            for kind in ("weight", "bias"):
                layout[f"h.{i}.{gpt2_layer}.{kind}"] = tuple(f"decoder.blocks.{i}.{layer}.{kind}" for layer in layers)
    layout |= {f"ln_f.{kind}": (f"decoder.norm.{kind}",) for kind in ("weight", "bias")}
    return layout if config.tying != "none" else layout | {"lm_head.weight": ("output.weight",)}


def _is_transposed(name: str) -> bool:
    """Return True for the matrices that GPT-2 stores as (in, out): those of its `Conv1D` layers."""
    return ".c_" in name and name.endswith("weight")


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of `model.safetensors`, or of the several files of a large model."""
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no model.safetensors. GPT2LMHeadModel.from_pretrained(...).save_pretrained(...) of "
            "transformers writes it from other formats"
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= load_file(str(file))
    return tensors
