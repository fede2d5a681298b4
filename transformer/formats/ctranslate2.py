"""A translation model for CTranslate2 (https://opennmt.net/CTranslate2): the same weights for another runtime.

Each weight has one place in CTranslate2's `TransformerSpec`; only queries, keys and values are joined. Positions are
written as a table, because CTranslate2's own formula puts all sines before all cosines (as fairseq does) and section
3.5 interleaves them.
"""

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from torch import Tensor

from common.directions import has_tags, language_tag, model_directions
from common.errors import InputError
from common.files import create_folder, expand
from transformer.config import ModelConfig
from transformer.formats.compute_types import COMPUTE_TYPES
from transformer.formats.supported import Values, check_supported
from transformer.model import GPT, Transformer
from transformer.pretrained import find_folder, load_pretrained, read_about

NORM_EPSILON = 1e-5
"""Epsilon of `nn.LayerNorm` and of `make_norm`."""

_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "gelu_tanh": "GELUTanh", "silu": "SWISH", "swiglu": "SWISH"}
_SUPPORTED: dict[str, Values] = {
    "architecture": ("transformer",),
    "vocab_size": None,
    "d_model": None,
    "n_layers": None,
    "n_decoder_layers": None,
    "n_heads": None,
    "d_head": None,
    "d_value": (None,),
    "d_ff": None,
    "dropout": None,
    "attention_dropout": None,
    "activation_dropout": None,
    "norm": ("post", "pre"),
    "positions": ("sinusoidal", "learned", "rotary"),
    "activation": tuple(_ACTIVATIONS),
    "tying": ("all", "output", "none"),
    "output_bias": (True, False),
    "norm_kind": ("layer", "rms"),
    "n_kv_heads": None,
    "scale_embedding": (True, False),
    "init": None,
    "max_len": None,
}
"""For each field of ModelConfig, the values that the export supports."""

_ENCODER_BLOCK = {
    "self_attention/linear_0": ("self_attention.query", "self_attention.key", "self_attention.value"),
    "self_attention/linear_1": ("self_attention.out",),
    "self_attention/layer_norm": ("self_residual.norm",),
    "ffn/linear_0": ("feed_forward.inner",),
    "ffn/linear_1": ("feed_forward.outer",),
    "ffn/layer_norm": ("feed_forward_residual.norm",),
}
_DECODER_BLOCK = _ENCODER_BLOCK | {
    "attention/linear_0": ("cross_attention.query",),
    "attention/linear_1": ("cross_attention.key", "cross_attention.value"),
    "attention/linear_2": ("cross_attention.out",),
    "attention/layer_norm": ("cross_residual.norm",),
}
"""For each layer of a CTranslate2 block, the layers of `TransformerBlock` that it consists of."""
_GATED = {"ffn/linear_0": ("feed_forward.gate",), "ffn/linear_0_noact": ("feed_forward.inner",)}

PENALTY_NOTE = (
    "CTranslate2 ranks translations by log P / n^length_penalty, where n counts `</s>`. In paper-transformer this is "
    "decode.length_penalty=length. The default of paper-transformer is the paper's ((5 + n) / 6)^alpha, which "
    "CTranslate2 does not have, so the same alpha can give a different order."
)

CARD = """# {name} for CTranslate2

Exported with `python -m transformer.export` of paper-transformer. The weights are stored as `{compute_type}`.

```python
import ctranslate2, sentencepiece

folder = "."  # this folder
tokenizer = sentencepiece.SentencePieceProcessor(model_file=folder + "/tokenizer.model")
translator = ctranslate2.Translator(folder, device="cpu", compute_type="{compute_type}")

source = [{tag}tokenizer.encode("A sentence.", out_type=str)]
result = translator.translate_batch(source, beam_size=4, length_penalty=1.0, min_decoding_length=0,
                                    max_decoding_length={longest}, return_end_token=True, disable_unk=True)
print(tokenizer.decode(result[0].hypotheses[0][:-1]))
```

{tags}- The input text must be in Unicode NFC, without white space at its start and end. CTranslate2 adds `</s>` to the
  source and starts the target with `<s>`.
- {penalty}
- CTranslate2 stops a sentence when beam size times `patience` hypotheses have finished. paper-transformer stops when
  no unfinished hypothesis can win, so it can find a translation with a better score.
- The model takes at most {max_len} tokens, with `</s>`. By default CTranslate2 truncates a source to 1,024 tokens
  (`max_input_length`) and an output to 256 tokens (`max_decoding_length`).
"""


def import_ctranslate2() -> Any:
    """Return the package. Raises InputError with the command that installs it if it is missing."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError as error:
        raise InputError("CTranslate2 is not installed. Run: pip install ctranslate2") from error


def export_ctranslate2(model: str | Path, output: str | Path, compute_type: str = "float32") -> Path:
    """Write a model folder, or a model of the Hub, as a CTranslate2 model. Return the folder, written atomically.

    The folder contains `model.bin`, `config.json`, `shared_vocabulary.json`, `tokenizer.model` and a `README.md`.

    Raises:
        InputError: CTranslate2 is not installed, or does not support the compute type or the model.
        FileExistsError: the output exists.
        FileNotFoundError: the model, or the folder to write into, does not exist.
    """
    output = expand(output)
    check_export(output, compute_type)
    folder = find_folder(model)
    with create_folder(output.absolute()) as temporary:
        write_export(folder, temporary, compute_type)
    return output


def check_export(output: Path, compute_type: str) -> None:
    """Raise as `export_ctranslate2` if an export cannot be written to `output`."""
    import_ctranslate2()
    if compute_type not in COMPUTE_TYPES:
        raise InputError(f"CTranslate2 has no compute type {compute_type!r}. Use one of {', '.join(COMPUTE_TYPES)}.")
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"{output} already exists. Delete it, or give another --output.")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.absolute().parent} to write {output.name} to")


def write_export(folder: Path, result: Path, compute_type: str) -> None:
    """Write the files of an export to the folder `result`. Raises as `export_ctranslate2`."""
    config, about = write_model(folder, result, compute_type), read_about(folder)
    tags = [language_tag(target) for _, target in model_directions(about)] if has_tags(about) else []
    card = CARD.format(
        tag=f'["{tags[0]}"] + ' if tags else "",
        tags=f"- A source begins with the tag of its target language: {', '.join(dict.fromkeys(tags))}.\n" * bool(tags),
        name=folder.resolve().name,
        compute_type=compute_type,
        penalty=PENALTY_NOTE,
        max_len=config.max_len,
        longest=min(256, config.max_len),
    )
    shutil.copyfile(folder / "tokenizer.model", result / "tokenizer.model")
    (result / "README.md").write_text(card, encoding="utf-8")


def write_model(folder: Path, result: Path, compute_type: str) -> ModelConfig:
    """Write the files of CTranslate2 itself to the folder `result`; return the settings of the model."""
    translator, config = load_pretrained(folder)
    spec = make_spec(translator, read_pieces(folder / "tokenizer.model", config.vocab_size))
    spec.validate()
    spec.optimize(quantization=compute_type)
    spec.save(str(result))
    return config


def check_exportable(config: ModelConfig) -> None:
    """Raise InputError with the field if the export does not support the model."""
    check_supported(config, _SUPPORTED, "the export to CTranslate2")


def read_pieces(tokenizer_file: Path, vocab_size: int) -> list[str]:
    """Return the vocabulary in CTranslate2's form, one string per id. Raises InputError if its size is not the
    model's."""
    try:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    except RuntimeError as error:
        raise InputError(
            f"{tokenizer_file} is not one SentencePiece model, and the export supports no other tokenizer"
        ) from error
    if tokenizer.vocab_size() != vocab_size:
        raise InputError(f"{tokenizer_file} has {tokenizer.vocab_size()} pieces but the model has {vocab_size} tokens")
    pieces: list[str] = tokenizer.id_to_piece(list(range(vocab_size)))
    return pieces


def make_spec(model: Transformer | GPT, pieces: list[str]) -> Any:
    """Return CTranslate2's `TransformerSpec` with the weights of the model; `pieces` has one string per id.

    Raises InputError for a setting or a weight that the export does not support.
    """
    check_exportable(model.config)
    specs = import_ctranslate2().specs
    config = model.config
    shared = {
        "num_heads": config.n_heads,
        "pre_norm": config.norm == "pre",
        "activation": specs.Activation[_ACTIVATIONS[config.activation]],
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm_kind == "rms",
        "num_heads_kv": config.n_kv_heads,
        "head_dim": config.head_size,
        "rotary_dim": config.head_size if config.positions == "rotary" else None,
        "rotary_interleave": False,
    }
    transformer_spec = importlib.import_module("ctranslate2.specs.transformer_spec")
    spec = specs.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(num_layers=config.n_layers, **shared),
        transformer_spec.TransformerDecoderSpec(num_layers=config.decoder_layers, **shared),
    )
    tensors = dict(model.named_parameters(remove_duplicate=False))
    layout = _layout(config)
    if odd := sorted(tensors.keys() ^ {own for names in layout.values() for own in names}):
        raise InputError(f"only one of the export to CTranslate2 and this model has the weight {odd[0]}")
    for name, own_names in layout.items():
        _set(spec, name, np.concatenate([_array(tensors[own]) for own in own_names]))
    if config.positions == "sinusoidal":
        computed = dict(model.named_buffers())
        for stack, embedding in (("encoder", "src_embedding"), ("decoder", "tgt_embedding")):
            _set(spec, f"{stack}/position_encodings/encodings", _array(computed[f"{embedding}.positions"]))
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = config.scale_embedding
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = NORM_EPSILON
    return spec


def _layout(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Return, for CTranslate2's name of each variable, the names of the weights that it consists of, in order."""
    layers: dict[str, tuple[str, ...]] = {}
    stacks = (("encoder", config.n_layers, _ENCODER_BLOCK), ("decoder", config.decoder_layers, _DECODER_BLOCK))
    for stack, n_layers, block in stacks:
        for layer, own_layers in (block | (_GATED if config.activation == "swiglu" else {})).items():
            for i in range(n_layers):
                layers[f"{stack}/layer_{i}/{layer}"] = tuple(f"{stack}.blocks.{i}.{name}" for name in own_layers)
        if config.norm == "pre":
            layers[f"{stack}/layer_norm"] = (f"{stack}.norm",)
    norm = {"gamma": "weight"} if config.norm_kind == "rms" else {"gamma": "weight", "beta": "bias"}
    layout: dict[str, tuple[str, ...]] = {
        "encoder/embeddings_0/weight": ("src_embedding.tokens.weight",),
        "decoder/embeddings/weight": ("tgt_embedding.tokens.weight",),
        "decoder/projection/weight": ("output.weight",),
    }
    if config.output_bias:
        layout["decoder/projection/bias"] = ("output.bias",)
    if config.positions == "learned":
        layout["encoder/position_encodings/encodings"] = ("src_embedding.positions",)
        layout["decoder/position_encodings/encodings"] = ("tgt_embedding.positions",)
    for layer, own_layers in layers.items():
        for variable, kind in (norm if layer.endswith("norm") else {"weight": "weight", "bias": "bias"}).items():
            layout[f"{layer}/{variable}"] = tuple(f"{name}.{kind}" for name in own_layers)
    return layout


def _set(spec: Any, name: str, value: np.ndarray) -> None:
    """Set a variable of a CTranslate2 specification, such as `encoder/layer_0/ffn/linear_1/weight`."""
    *path, last = name.split("/")
    for step in path:
        stem, _, index = step.rpartition("_")
        spec = getattr(spec, step) if hasattr(spec, step) else getattr(spec, stem)[int(index)]
    setattr(spec, last, value)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
