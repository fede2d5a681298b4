"""GPT-2 (Radford et al., 2019) as the library `transformers` keeps it, to a `GPT` and back: settings and weights.

The function is the same, so logits are equal up to rounding. What differs is where the numbers stand: GPT-2 holds
a layer's matrix as (in, out), ours is (out, in), and it holds those of queries, keys and values side by side.
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
from transformer.config import ModelConfig
from transformer.model import GPT
from transformer.pretrained import put_weights, save_tensors, weights

if TYPE_CHECKING:  # the library itself is needed by `to_gpt2` alone
    from transformers import GPT2LMHeadModel

_ACTIVATIONS: dict[str, Literal["gelu_tanh", "gelu", "relu"]] = {
    "gelu_pytorch_tanh": "gelu_tanh",  # two names of one function, of which the second is GPT-2's
    "gelu_new": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
_FIXED = {  # settings that have one value here, which is also what they are where they are not stated
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "layer_norm_epsilon": 1e-5,
}
_BLOCK = {  # GPT-2's layers in a block, and those of ours that they hold
    "ln_1": ("self_residual.norm",),
    "attn.c_attn": ("self_attention.query", "self_attention.key", "self_attention.value"),
    "attn.c_proj": ("self_attention.out",),
    "ln_2": ("feed_forward_residual.norm",),
    "mlp.c_fc": ("feed_forward.inner",),
    "mlp.c_proj": ("feed_forward.outer",),
}


def from_gpt2(model: GPT2LMHeadModel) -> GPT:
    """The same model as a `GPT`, in eval mode, with weights of its own.

    Raises ValueError, naming the setting, where `ModelConfig` does not know a variation of GPT-2.
    """
    return _make_gpt(model.config.to_dict(), model.state_dict())


def to_gpt2(model: GPT) -> GPT2LMHeadModel:
    """The same model as the library's, in eval mode, with weights of its own.

    Raises ValueError, naming the field, where the model is no GPT-2 in shape, and where the library is missing.
    """
    settings = gpt2_settings(model.config)
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise InputError('the package transformers is missing: pip install "paper-transformer[gpt2]"') from error
    made = GPT2LMHeadModel(GPT2Config(**settings))
    made.load_state_dict(gpt2_tensors(model), strict=False)  # a tied output layer has a second name there
    return made.eval()


def read_gpt2(folder: Path) -> GPT:
    """The model in a folder that the library's `save_pretrained` wrote, in eval mode; read without the library.

    Raises FileNotFoundError where a file is missing, ValueError where the folder holds another kind of model, a
    variation that `ModelConfig` does not know, or damage.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a GPT-2: it has no config.json")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind != "gpt2":
        raise InputError(f'{path} does not describe a GPT-2: its model_type is {json.dumps(kind)} and not "gpt2"')
    try:
        return _make_gpt(settings, _read_tensors(folder))
    except (SafetensorError, ValueError) as error:
        raise InputError(f"the model in {folder} cannot be read: {error}") from error


def write_gpt2(folder: Path, model: GPT, end_id: int | None) -> None:
    """Write the `config.json` and `model.safetensors` that the library reads; the token `end_id` ends a document.

    Raises ValueError, naming the field, where the model is no GPT-2 in shape.
    """
    about = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"} | gpt2_settings(model.config, end_id)
    folder.mkdir(parents=True, exist_ok=True)
    config, weights_file = folder / "config.json", folder / "model.safetensors"
    config.write_text(json.dumps(about, indent=2) + "\n")
    save_tensors(weights_file, gpt2_tensors(model))
    weights_file.chmod(config.stat().st_mode)  # safetensors lets nobody else read them


def model_config(settings: dict[str, Any]) -> ModelConfig:
    """GPT-2's settings as ours. Raises ValueError, naming the setting, where there is nothing like it here."""
    for name, value in _FIXED.items():
        if settings.get(name, value) != value:
            raise InputError(f"{name} is {json.dumps(settings[name])}; this project's GPT has {json.dumps(value)} only")
    activation = settings.get("activation_function")
    if activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise InputError(f"activation_function is {json.dumps(activation)}; this project's GPT has {known} only")
    n_embd = _number(settings, "n_embd", int)
    return ModelConfig(
        architecture="gpt",
        vocab_size=_number(settings, "vocab_size", int),
        d_model=n_embd,
        n_layers=_number(settings, "n_layer", int),
        n_heads=_number(settings, "n_head", int),
        d_ff=4 * n_embd if settings.get("n_inner") is None else _number(settings, "n_inner", int),
        dropout=_number(settings, "resid_pdrop", float),
        norm="pre",
        positions="learned",
        activation=_ACTIVATIONS[activation],
        tying="output" if settings.get("tie_word_embeddings", True) else "none",
        scale_embedding=False,
        init="gpt2",
        max_len=_number(settings, "n_positions", int),
    )


def gpt2_settings(config: ModelConfig, end_id: int | None = None) -> dict[str, Any]:
    """Our settings as GPT-2's. Raises ValueError, naming the field, where the model is no GPT-2 in shape."""
    for name, found, needed in (
        ("model.architecture", config.architecture, "gpt"),
        ("model.norm", config.norm, "pre"),
        ("model.norm_kind", config.norm_kind, "layer"),
        ("model.positions", config.positions, "learned"),
        ("model.scale_embedding", config.scale_embedding, False),
        ("model.n_kv_heads", config.kv_heads, config.n_heads),
        ("model.n_heads times model.d_head", config.n_heads * config.head_size, config.d_model),
    ):
        if found != needed:
            raise InputError(f"{name} is {found}; a GPT-2 of this size has {needed} only")
    activations = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    if config.activation not in activations:
        known = ", ".join(activations)
        raise InputError(
            f"model.activation is {config.activation}; a GPT-2 has {known} only, so it cannot be this model"
        )
    return _FIXED | {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": activations[config.activation],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,  # dropout on attention weights, which this project does not have
        "tie_word_embeddings": config.tying != "none",
        "bos_token_id": end_id,
        "eos_token_id": end_id,
    }


def gpt2_tensors(model: GPT) -> dict[str, Tensor]:
    """The weights as GPT-2 names and places them."""
    ours = weights(model)
    tensors = {}
    for name, parts in _layout(model.config).items():
        tensor = torch.cat([ours[part] for part in parts])
        tensors[name] = (tensor.T if _is_turned(name) else tensor).contiguous()
    return {name if name == "lm_head.weight" else f"transformer.{name}": tensors[name] for name in tensors}


def _make_gpt(settings: dict[str, Any], tensors: dict[str, Tensor]) -> GPT:
    config = model_config(settings)
    ours = _our_tensors(config, {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()})
    with torch.device("meta"):  # names and shapes are checked before a model takes memory
        put_weights(GPT(config), ours)
    model = GPT(config)
    put_weights(model, ours)
    return model.eval()


def _our_tensors(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if config.n_layers > len(tensors):
        raise InputError(f"the weights are too few for {config.n_layers} layers")
    layout, head = _layout(config), tensors.get("lm_head.weight")
    if missing := sorted(layout.keys() - tensors.keys()):
        raise InputError(f"the weights lack {missing[0]}")
    # The causal mask, which older versions stored beside the weights, and a tied output layer's second name.
    known = layout.keys() | {"lm_head.weight"}
    if odd := sorted(name for name in tensors.keys() - known if not name.endswith((".attn.bias", ".attn.masked_bias"))):
        raise InputError(f"the weights hold {odd[0]}, which a GPT-2 language model does not have")
    if config.tying != "none" and head is not None and not torch.equal(head, tensors["wte.weight"]):
        raise InputError("lm_head.weight differs from wte.weight: say so with tie_word_embeddings false in config.json")
    ours: dict[str, Tensor] = {}
    for name, parts in layout.items():
        tensor = tensors[name].T if _is_turned(name) else tensors[name]
        ours |= zip(parts, tensor.tensor_split(len(parts)), strict=True)
    return ours


def _layout(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """GPT-2's name of each tensor, and ours of those that it holds, one below the other."""
    layout: dict[str, tuple[str, ...]] = {
        "wte.weight": ("embedding.tokens.weight",),
        "wpe.weight": ("embedding.positions",),
    }
    for i in range(config.n_layers):
        for theirs, ours in _BLOCK.items():
            for kind in ("weight", "bias"):
                layout[f"h.{i}.{theirs}.{kind}"] = tuple(f"decoder.blocks.{i}.{layer}.{kind}" for layer in ours)
    layout |= {f"ln_f.{kind}": (f"decoder.norm.{kind}",) for kind in ("weight", "bias")}
    return layout if config.tying != "none" else layout | {"lm_head.weight": ("output.weight",)}


def _is_turned(name: str) -> bool:
    """True for the matrices that GPT-2 holds as (in, out): those of its `Conv1D` layers."""
    return ".c_" in name and name.endswith("weight")


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of `model.safetensors`, or of the pieces that a large model is stored in."""
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"{folder} has no model.safetensors; GPT2LMHeadModel.from_pretrained(...).save_pretrained(...) of "
            "transformers writes one from weights of another kind"
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= load_file(str(file))
    return tensors


def _number(settings: dict[str, Any], name: str, kind: type) -> Any:
    """A setting; raises ValueError where it is missing or of another kind. A whole number also does for a float."""
    value = settings.get(name)
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise InputError(f"{name} is {json.dumps(value)}; it must be {'an integer' if kind is int else 'a number'}")
    return value
