"""Settings and weights of Marian and OPUS-MT models, as `MarianMTModel` of the library `transformers` stores them.

Both models compute the same function. Marian's positions have all sines before all cosines, and section 3.5
interleaves them, so the numbers of every vector of size d_model get another order. Sums and norms do not depend on it.

Marian is post-norm. A pre-norm model is written as Pegasus, which is the same network with pre-norm: its weights have
the same names, plus a last norm in each stack.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from common.errors import InputError, first_line
from common.files import replace_file, write_json
from common.settings import check_language
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
    read_object,
)  # fmt: skip
from transformer.formats.supported import Values, check_supported
from transformer.layers import sinusoidal_positions
from transformer.model import GPT, Transformer
from transformer.weights import get_weights, save_tensors, set_weights

ModelType = Literal["marian", "pegasus"]
_ACTIVATIONS: dict[str, Literal["relu", "gelu", "gelu_tanh", "silu"]] = {
    "silu": "silu",  # the same function as swish, which is Marian's name
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
_SUPPORTED: dict[str, Values] = {
    "architecture": ("transformer",),
    "vocab_size": None,
    "d_model": None,
    "n_layers": None,
    "n_decoder_layers": None,
    "n_heads": None,
    "d_head": None,  # checked in `check_exportable`
    "d_value": (None,),
    "d_ff": None,
    "dropout": None,
    "attention_dropout": None,
    "activation_dropout": None,
    "norm": None,  # checked in `check_exportable`
    "positions": ("sinusoidal",),
    "activation": tuple(dict.fromkeys(_ACTIVATIONS.values())),
    "tying": ("all",),
    "output_bias": (True, False),
    "norm_kind": ("layer",),
    "n_kv_heads": None,  # checked in `check_exportable`
    "scale_embedding": (True, False),
    "init": None,
    "max_len": None,
}
"""For each field of ModelConfig, the values that a Marian or Pegasus model can have."""
_FIXED: dict[str, Any] = {
    "is_encoder_decoder": True,
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
    "static_position_embeddings": True,
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "add_bias_logits": False,
    "force_bos_token_to_be_generated": False,
}
"""Settings of Marian that have one value in this project, which is also the value of OPUS-MT models."""
MODEL_TYPES: dict[str, ModelType] = {"post": "marian", "pre": "pegasus"}
"""For each place of the norms, the `model_type` of transformers that has it."""
_CLASSES: dict[ModelType, str] = {"marian": "MarianMTModel", "pegasus": "PegasusForConditionalGeneration"}
_EQUAL = {
    "encoder_attention_heads": "decoder_attention_heads",
    "encoder_ffn_dim": "decoder_ffn_dim",
}
_READ = {
    *_EQUAL, *_EQUAL.values(), "encoder_layers", "decoder_layers",
    "vocab_size", "decoder_vocab_size", "d_model", "max_position_embeddings",
    "activation_function", "dropout", "attention_dropout", "activation_dropout", "scale_embedding", "pad_token_id",
    "eos_token_id", "decoder_start_token_id",
}  # fmt: skip
_IGNORED = {
    "encoder_layerdrop", "decoder_layerdrop", "init_std", "classifier_dropout", "classif_dropout", "save_step",
    "extra_pos_embeddings", "num_hidden_layers", "_num_labels", "max_source_positions", "max_target_positions",
}  # fmt: skip
"""Settings of Marian that do not change the logits."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "min_length": (0,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0, 0.0),
    "repetition_penalty": (1, 1.0),
    "encoder_repetition_penalty": (1, 1.0),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "forced_bos_token_id": (),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "min_new_tokens": (),
    "max_new_tokens": (),
    "sequence_bias": (),
    "guidance_scale": (1, 1.0),
}
"""Settings of `generate` that change the output of beam search, with the values that do not; None does not either."""
FORBIDDEN_LOGIT = -1e9
"""Bias of a token that has no probability."""
_LAYERS = {
    "self_attn.q_proj": "self_attention.query",
    "self_attn.k_proj": "self_attention.key",
    "self_attn.v_proj": "self_attention.value",
    "self_attn.out_proj": "self_attention.out",
    "self_attn_layer_norm": "self_residual.norm",
    "fc1": "feed_forward.inner",
    "fc2": "feed_forward.outer",
    "final_layer_norm": "feed_forward_residual.norm",
}
_CROSS_LAYERS = {
    "encoder_attn.q_proj": "cross_attention.query",
    "encoder_attn.k_proj": "cross_attention.key",
    "encoder_attn.v_proj": "cross_attention.value",
    "encoder_attn.out_proj": "cross_attention.out",
    "encoder_attn_layer_norm": "cross_residual.norm",
}
"""For each layer of a Marian block, the layer of `TransformerBlock`."""
_READERS = (".query", ".key", ".value", ".inner")
"""Layers that read vectors of size d_model. The other layers write them."""
_FINAL_NORMS = {f"model.{stack}.layer_norm": f"{stack}.norm" for stack in ("encoder", "decoder")}
"""Norm at the end of each stack of a pre-norm model."""
_EMBEDDINGS = ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
"""Names of the one embedding matrix, without `.weight`."""


@dataclass(frozen=True)
class MarianFolder:
    """A folder of transformers' `MarianMTModel`, whose settings this project supports."""

    folder: Path
    settings: dict[str, Any]
    """The content of `config.json`."""
    generation: dict[str, Any]
    """Settings of `generate`, in `config.json` or `generation_config.json`."""
    config: ModelConfig
    """Settings of the model, with Marian's vocabulary size."""

    @property
    def special(self) -> tuple[int, int, int]:
        """Marian's ids of padding, of the first token of the decoder and of the end of a sentence."""
        pad, start, end = (number(self.settings, f"{name}_token_id", int) for name in ("pad", "decoder_start", "eos"))
        return pad, start, end

    @property
    def languages(self) -> tuple[str, str] | None:
        """Source and target language, if `tokenizer_config.json` names one language each."""
        file = self.folder / "tokenizer_config.json"
        names = read_object(file) if file.is_file() else {}
        source, target = (str(names.get(f"{side}_lang") or "") for side in ("source", "target"))
        try:
            check_language("source_lang", source)
            check_language("target_lang", target)
        except InputError:
            return None
        return source, target

    def decode(self, split_sentences: bool) -> dict[str, Any]:
        """Return the decoding settings. A line that begins with a language code must not be split."""
        return {
            "beam": self.generation.get("num_beams") or 1,
            "length_penalty": "length",
            "alpha": 1.0 if (alpha := self.generation.get("length_penalty")) is None else alpha,
            "max_length": self._max_length,
            "max_extra": self._max_length,
            "split_sentences": split_sentences,
        }

    @property
    def _max_length(self) -> int:
        """Largest number of tokens in an output. In transformers the first token of the decoder counts too."""
        return min(self.config.max_len, int(self.generation.get("max_length") or self.config.max_len + 1) - 1)

    def read(self, ids: list[int | None]) -> Transformer:
        """Return the model in eval mode. `ids` has Marian's id of each id of this project, None for a new token.

        Raises FileNotFoundError or InputError if the weights are missing or damaged.
        """
        file = self._weights_file
        config = replace(self.config, vocab_size=len(ids))
        try:
            weights = self._reorder(config, _read_tensors(file), ids)
            with torch.device("meta"):  # check names and shapes before a model is allocated
                set_weights(Transformer(config), weights)
        except (SafetensorError, InputError) as error:
            raise InputError(f"the model in {file} cannot be read: {first_line(error)}") from error
        model = Transformer(config)
        set_weights(model, weights)
        return model.eval()

    @property
    def _weights_file(self) -> Path:
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (self.folder / name).is_file():
                return self.folder / name
        raise FileNotFoundError(f"{self.folder} has neither model.safetensors nor pytorch_model.bin")

    def _reorder(self, config: ModelConfig, tensors: dict[str, Tensor], ids: list[int | None]) -> dict[str, Tensor]:
        """Return Marian's weights with the names and the order of this project."""
        if (layers := max(config.n_layers, config.decoder_layers)) > len(tensors):
            raise InputError(f"the weights are too few for {layers} layers")
        embedding_VD, bias_V = _take_embedding(tensors), _take(tensors, "final_logits_bias").flatten()
        if len(embedding_VD) != self.config.vocab_size or len(bias_V) != self.config.vocab_size:
            raise InputError(f"the vocabulary of the weights does not have {self.config.vocab_size} tokens")
        _drop_positions(tensors, config)
        layout = _layout(config)
        if odd := sorted(tensors.keys() ^ layout.keys()):
            raise InputError(f"{odd[0]} is only in {'the weights' if odd[0] in tensors else 'a Marian model'}")
        order = _order(config.d_model)
        rows = torch.tensor([self.config.vocab_size if token is None else token for token in ids])
        new = torch.cat([embedding_VD, torch.zeros(1, embedding_VD.size(1))])[rows]
        bias = torch.cat([bias_V, torch.tensor([FORBIDDEN_LOGIT])])[rows]
        if self.generation.get("renormalize_logits"):
            never = [token for word in self.generation.get("bad_words_ids") or [] for token in word]
            bias[[i for i, token in enumerate(ids) if token in never]] = FORBIDDEN_LOGIT
        weights = {own: _permute(own, tensors[name], order) for name, own in layout.items()}
        return weights | {"src_embedding.tokens.weight": new[:, order].contiguous(), "output.bias": bias}


def open_marian(source: str) -> MarianFolder:
    """Read the settings in the folder of a Marian model, or download the model from the Hub.

    Raises:
        FileNotFoundError: there is no such model, or a file is missing.
        InputError: the folder contains another kind of model or an unsupported variation, or is damaged.
    """
    files = ("config.json", "generation_config.json", "model.safetensors", "pytorch_model.bin", "*.spm", "*.json")
    folder = find_folder_of(source, list(files), "a Marian model", "Helsinki-NLP/opus-mt-en-de")
    settings = find_model_type(folder, "marian", "a Marian model")
    own_file = folder / "generation_config.json"
    own = read_object(own_file) if own_file.is_file() else {}
    generation = {name: value for name, value in settings.items() if name in GENERATION} | own
    check_known(settings, _READ | _FIXED.keys() | GENERATION | _IGNORED | TRAINING | OUTPUTS, "Marian")
    check_known(own, GENERATION | OUTPUTS | {"_from_model_config"} | _READ, "generation_config.json")
    check_fixed(settings, _FIXED)
    marian = MarianFolder(folder, settings, generation, model_config(settings))
    _check_generation(marian)
    return marian


def model_config(settings: dict[str, Any]) -> ModelConfig:
    """Return Marian's settings as a `ModelConfig`. Raises InputError with the setting if there is no equivalent."""
    for encoder, decoder in [*_EQUAL.items(), ("vocab_size", "decoder_vocab_size")]:
        other = settings.get(decoder)
        if number(settings, encoder, int) != other and (decoder != "decoder_vocab_size" or other is not None):
            raise InputError(f"{decoder} is {json.dumps(other)}; it must be {settings[encoder]} as {encoder}")
    encoder_layers, decoder_layers = (number(settings, f"{stack}_layers", int) for stack in ("encoder", "decoder"))
    activation = settings.get("activation_function")
    if activation not in _ACTIVATIONS:
        raise InputError(
            f"activation_function is {json.dumps(activation)}; only {', '.join(_ACTIVATIONS)} are supported"
        )
    return ModelConfig(
        vocab_size=settings["vocab_size"],
        d_model=number(settings, "d_model", int),
        n_layers=encoder_layers,
        n_decoder_layers=None if decoder_layers == encoder_layers else decoder_layers,
        n_heads=settings["encoder_attention_heads"],
        d_ff=settings["encoder_ffn_dim"],
        dropout=number(settings, "dropout", float),
        attention_dropout=number(settings, "attention_dropout", float),
        activation_dropout=number(settings, "activation_dropout", float),
        activation=_ACTIVATIONS[activation],
        output_bias=True,
        scale_embedding=settings.get("scale_embedding", False),
        max_len=number(settings, "max_position_embeddings", int),
    )


def check_exportable(config: ModelConfig, model_type: ModelType = "marian") -> None:
    """Raise InputError with the field if the model differs from the models of a `model_type` of transformers."""
    name, norms = model_type.capitalize(), [norm for norm, other in MODEL_TYPES.items() if other == model_type]
    if config.architecture == "transformer" and (other := MODEL_TYPES.get(config.norm)) not in (None, model_type):
        raise InputError(
            f"model.norm is {config.norm}, but {name} supports only {norms[0]}. Write --to {other} instead of "
            f"--to {model_type}."
        )
    check_supported(config, _SUPPORTED | {"norm": tuple(norms)}, name)
    if config.kv_heads != config.n_heads:
        raise InputError(f"model.n_kv_heads is {config.kv_heads}, but {name} supports only model.n_heads")
    if config.n_heads * config.head_size != config.d_model:
        raise InputError(f"model.d_head is {config.head_size}, but {name} supports only model.d_model / model.n_heads")


def write_marian(
    folder: Path, model: Transformer | GPT, special: tuple[int, int, int, int], beam: int, alpha: float
) -> None:
    """Write the `config.json`, `generation_config.json` and `model.safetensors` of transformers.

    `model_type` is `marian` for a post-norm model and `pegasus` for a pre-norm model.

    Args:
        special: ids of padding, of unknown characters, of the first token of the decoder and of the end.
        beam: `decode.beam`.
        alpha: exponent of the length penalty n^alpha.

    Raises InputError with the field if the model differs from Marian and Pegasus.
    """
    settings, (pad, unk, start, end) = marian_settings(model.config), special
    tensors = marian_tensors(model)
    ids = {"pad_token_id": pad, "bos_token_id": start, "decoder_start_token_id": start, "eos_token_id": end}
    generation = ids | {
        "bad_words_ids": [[pad], [unk], [start]],
        "early_stopping": False,  # "never" would search to `max_length`, minutes for a trained model
        "forced_eos_token_id": None,
        "length_penalty": alpha,
        "max_length": model.config.max_len,
        "num_beams": beam,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "generation_config.json", generation)
    model_type = MODEL_TYPES[model.config.norm]
    about = {"architectures": [_CLASSES[model_type]], "model_type": model_type}
    write_json(folder / "config.json", about | settings | ids | {"forced_eos_token_id": None})
    with replace_file(folder / "model.safetensors") as temporary:
        save_tensors(temporary, tensors)


def marian_settings(config: ModelConfig) -> dict[str, Any]:
    """Return the settings of a model as Marian's or Pegasus'. Raises InputError with the field if the model differs."""
    check_exportable(config, MODEL_TYPES.get(config.norm, "marian"))
    names: dict[str, str] = {activation: name for name, activation in _ACTIVATIONS.items()}
    sizes = {"attention_heads": config.n_heads, "ffn_dim": config.d_ff}
    pre_norm = config.norm == "pre"
    return _FIXED | {
        "normalize_before": pre_norm,
        "add_final_layer_norm": pre_norm,
        **{f"{stack}_{name}": size for stack in ("encoder", "decoder") for name, size in sizes.items()},
        "encoder_layers": config.n_layers,
        "decoder_layers": config.decoder_layers,
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "max_position_embeddings": config.max_len,
        "activation_function": names[config.activation],
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "scale_embedding": config.scale_embedding,
    }


def marian_tensors(model: Transformer | GPT) -> dict[str, Tensor]:
    """Return the weights with Marian's names and order. Raises InputError for a weight that Marian does not have.

    A pre-norm model also gets its table of positions, because Pegasus reports a missing table as a missing weight.
    """
    weights, layout = get_weights(model), _layout(model.config)
    embedding_VD = weights.pop("src_embedding.tokens.weight")
    bias_V = weights.pop("output.bias", torch.zeros(len(embedding_VD)))
    if odd := sorted(weights.keys() ^ set(layout.values())):
        raise InputError(f"only one of Marian and this model has the weight {odd[0]}")
    order = _order(model.config.d_model).argsort()
    tensors = {name: _permute(own, weights[own], order) for name, own in layout.items()}
    if model.config.norm == "pre":
        positions_LD = sinusoidal_positions(model.config.max_len, model.config.d_model)[:, order]
        for stack in ("encoder", "decoder"):
            tensors[f"model.{stack}.embed_positions.weight"] = positions_LD.clone(memory_format=torch.contiguous_format)
    return tensors | {"model.shared.weight": embedding_VD[:, order].contiguous(), "final_logits_bias": bias_V[None]}


def _check_generation(marian: MarianFolder) -> None:
    """Raise InputError for a setting that would give another output."""
    for name, values in _NEUTRAL.items():
        value = marian.generation.get(name)
        if value is not None and value not in values:
            raise InputError(f"{name} is {json.dumps(value)}, which is not supported")
    forced, (pad, start, end) = marian.generation.get("forced_eos_token_id"), marian.special
    if forced not in (None, end):
        raise InputError(f"forced_eos_token_id is {json.dumps(forced)}; only eos_token_id {end} is supported")
    _check_numbers({name: value for name, value in marian.generation.items() if value is not None})
    never = ([pad], [start], [read_object(marian.folder / "vocab.json").get("<unk>")])
    words = marian.generation.get("bad_words_ids") or []
    if not isinstance(words, list):
        raise InputError(f"bad_words_ids is {json.dumps(words)}; it must be a list")
    if other := [ids for ids in words if ids not in never]:
        raise InputError(f"bad_words_ids contains {other[0]}; only padding, <unk> and the first token are supported")


def _check_numbers(generation: dict[str, Any]) -> None:
    """Raise InputError for a setting of the search that is no number, or too small."""
    for name, least in (("num_beams", 1), ("max_length", 2)):
        if name in generation and number(generation, name, int) < least:
            raise InputError(f"{name} is {generation[name]}; it must be at least {least}")
    if "length_penalty" in generation:
        number(generation, "length_penalty", float)


def _layout(config: ModelConfig) -> dict[str, str]:
    """Return this project's name of each of Marian's weights, without embedding and output bias."""
    layout = {}
    for stack, layers in (("encoder", _LAYERS), ("decoder", _LAYERS | _CROSS_LAYERS)):
        for i in range(config.n_layers if stack == "encoder" else config.decoder_layers):
            for name, own in layers.items():
                layout[f"model.{stack}.layers.{i}.{name}"] = f"{stack}.blocks.{i}.{own}"
    layout |= _FINAL_NORMS if config.norm == "pre" else {}
    return {f"{name}.{kind}": f"{own}.{kind}" for name, own in layout.items() for kind in ("weight", "bias")}


def _order(d_model: int) -> Tensor:
    """Return Marian's index of each number of a vector: sine i and cosine i become neighbours."""
    return torch.arange(d_model).view(2, -1).T.flatten()


def _permute(own_name: str, tensor: Tensor, order: Tensor) -> Tensor:
    """Reorder the axis of size d_model of a weight."""
    layer, kind = own_name.rsplit(".", 1)
    if not layer.endswith(_READERS):
        return tensor[order].contiguous()
    return tensor[:, order].contiguous() if kind == "weight" else tensor


def _take(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"the weights have no {name}")
    return tensors.pop(name)


def _take_embedding(tensors: dict[str, Tensor]) -> Tensor:
    """Remove all copies of the embedding matrix and return it. Raises InputError if they differ."""
    copies = [tensors.pop(f"{name}.weight") for name in _EMBEDDINGS if f"{name}.weight" in tensors]
    if not copies:
        raise InputError(f"the weights have no {_EMBEDDINGS[0]}.weight")
    if not all(torch.equal(copies[0], other) for other in copies[1:]):
        raise InputError("the embeddings of source, target and output layer differ; only shared ones are supported")
    return copies[0]


def _drop_positions(tensors: dict[str, Tensor], config: ModelConfig) -> None:
    """Remove stored tables of positions. Raises InputError if one is not sinusoidal."""
    for stack in ("encoder", "decoder"):
        table = tensors.pop(f"model.{stack}.embed_positions.weight", None)
        if table is None:
            continue
        expected = sinusoidal_positions(len(table), config.d_model)[:, _order(config.d_model).argsort()]
        if table.shape != expected.shape or not torch.allclose(table, expected, atol=1e-2):
            raise InputError(f"model.{stack}.embed_positions.weight is not sinusoidal; only section 3.5 is supported")


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Return all tensors in fp32. A file that contains anything but tensors is refused, and no code in it runs."""
    if file.suffix == ".safetensors":
        found = load_file(str(file))
    else:
        try:
            found = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # many types; weights_only refuses other objects with UnpicklingError
            raise InputError(f"damaged, or not only tensors ({type(error).__name__})") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise InputError("it contains objects other than tensors")
    return {str(name): tensor.float() for name, tensor in found.items()}
