"""A translator as a model of CTranslate2 (https://opennmt.net/CTranslate2): the same weights, another runtime.

A weight of ours has one place in CTranslate2's `TransformerSpec`; only queries, keys and values are joined. The
positions are written as a table, since CTranslate2's own formula lays sines and cosines side by side (fairseq's way)
and section 3.5 interleaves them.
"""

import importlib
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from torch import Tensor, nn

from common.errors import InputError
from transformer.attention import MultiHeadAttention
from transformer.block import Residual, Stack, TransformerBlock
from transformer.config import ModelConfig
from transformer.layers import Embedding, FeedForward, GatedFeedForward
from transformer.model import Transformer
from transformer.pretrained import find_folder, load_pretrained

NORM_EPSILON = 1e-5  # nn.LayerNorm's, and that of `make_norm`
EXPORTED = {
    "architecture", "vocab_size", "d_model", "n_layers", "n_heads", "d_head", "d_ff", "dropout", "norm", "positions",
    "activation", "tying", "norm_kind", "n_kv_heads", "scale_embedding", "init", "max_len",
}  # fmt: skip
"""The fields of ModelConfig that the export carries over, or that training alone uses."""

COMPUTE_TYPES = (
    "float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16",
)  # fmt: skip

PENALTY_NOTE = (
    "CTranslate2 ranks by log P / n^length_penalty, n tokens with </s>, which is paper-transformer's "
    "length_penalty=length; GNMT's ((5 + n) / 6)^alpha, the paper's and the default here, it does not know: the same "
    "alpha then ranks otherwise."
)

CARD = """# {name} for CTranslate2

{source} The weights are stored as `{compute_type}`.

```python
import ctranslate2, sentencepiece

folder = "."  # this one
tokenizer = sentencepiece.SentencePieceProcessor(model_file=folder + "/tokenizer.model")
translator = ctranslate2.Translator(folder, device="cpu", compute_type="{compute_type}")

source = [tokenizer.encode("A sentence.", out_type=str)]
result = translator.translate_batch(source, beam_size=4, length_penalty=1.0, min_decoding_length=0,
                                    max_decoding_length={longest}, return_end_token=True, disable_unk=True)
print(tokenizer.decode(result[0].hypotheses[0][:-1]))
```

- Text goes in as Unicode NFC, without white space at either end. CTranslate2 adds `</s>` to the source itself and
  starts the target with `<s>`.
- {penalty}
- CTranslate2 stops a sentence as soon as it has as many finished hypotheses as the beam is wide (times `patience`);
  paper-transformer stops when no other can win. So the latter may find a translation of a better score.
- The model takes at most {max_len} tokens, `</s>` included; CTranslate2 by itself cuts a source at 1,024
  (`max_input_length`) and an output at 256 (`max_decoding_length`).
"""


def import_ctranslate2() -> Any:
    """The package. Raises ValueError, with the command that installs it, where it is missing."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError as error:
        raise InputError("CTranslate2 is not installed: pip install 'paper-transformer[export]'") from error


def export_ctranslate2(model: str | Path, output: str | Path, compute_type: str = "float32") -> Path:
    """Write a CTranslate2 model of a model folder, or of a hub name, whole or not at all; returns its folder.

    It holds `model.bin`, `config.json`, `shared_vocabulary.json`, `tokenizer.model` and a `README.md`.

    Raises ValueError where CTranslate2 is missing, for a compute type that it does not know and for a model that it
    cannot hold, FileExistsError where the output exists, FileNotFoundError where the model or a folder is missing.
    """
    import_ctranslate2()
    output = Path(output)
    if compute_type not in COMPUTE_TYPES:
        raise InputError(f"compute type {compute_type!r} is not one of CTranslate2's: {', '.join(COMPUTE_TYPES)}")
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"{output} exists already: remove it, or give another --output")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.absolute().parent} to write {output.name} into")
    folder = find_folder(model)
    translator, config = load_pretrained(folder)
    refuse_unsupported(translator.config)
    assert isinstance(translator, Transformer)
    spec = make_spec(translator, read_pieces(folder / "tokenizer.model", config.vocab_size))
    spec.validate()
    spec.optimize(quantization=compute_type)
    card = CARD.format(
        name=folder.resolve().name,
        source="Made by `python -m transformer.export` of paper-transformer.",
        compute_type=compute_type,
        penalty=PENALTY_NOTE,
        max_len=config.max_len,
        longest=min(256, config.max_len),
    )
    temporary = output.absolute().with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        spec.save(str(temporary))
        shutil.copyfile(folder / "tokenizer.model", temporary / "tokenizer.model")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


def refuse_unsupported(config: ModelConfig) -> None:
    """Raises ValueError, naming the field, for a model that CTranslate2 cannot hold as it is."""
    if config.architecture == "gpt":
        raise InputError("model.architecture is gpt: only translators are exported to CTranslate2")
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in EXPORTED and value != field.default:
            raise InputError(f"model.{field.name} is {value}: the export to CTranslate2 does not know this variation")


def read_pieces(tokenizer_file: Path, vocab_size: int) -> list[str]:
    """The vocabulary as CTranslate2 wants it, one string per id. Raises ValueError where it is not the model's."""
    try:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    except RuntimeError as error:
        raise InputError(f"{tokenizer_file} is not a SentencePiece model") from error
    if tokenizer.vocab_size() != vocab_size:
        raise InputError(f"{tokenizer_file} has {tokenizer.vocab_size()} pieces and the model {vocab_size}")
    pieces: list[str] = tokenizer.id_to_piece(list(range(vocab_size)))
    return pieces


def make_spec(model: Transformer, pieces: list[str]) -> Any:
    """CTranslate2's `TransformerSpec` with the weights of the model; `pieces` are its vocabulary by id."""
    specs = import_ctranslate2().specs
    config = model.config
    shared = {
        "num_layers": config.n_layers,
        "num_heads": config.n_heads,
        "pre_norm": config.norm == "pre",
        "activation": _activation(config, specs.Activation),
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm_kind == "rms",
        "num_heads_kv": config.n_kv_heads,
        "head_dim": config.head_size,
        "rotary_dim": config.head_size if config.positions == "rotary" else None,
        "rotary_interleave": False,
    }
    transformer_spec = importlib.import_module("ctranslate2.specs.transformer_spec")
    spec = specs.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(**shared), transformer_spec.TransformerDecoderSpec(**shared)
    )
    _set_embedding(spec.encoder, spec.encoder.embeddings[0], model.src_embedding)
    _set_embedding(spec.decoder, spec.decoder.embeddings, model.tgt_embedding)
    _set_stack(spec.encoder, model.encoder)
    _set_stack(spec.decoder, model.decoder)
    _set_linear(spec.decoder.projection, model.output)
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = NORM_EPSILON
    return spec


def _activation(config: ModelConfig, kinds: Any) -> Any:
    names = {"relu": "RELU", "gelu": "GELU", "gelu_tanh": "GELUTanh", "swiglu": "SWISH"}
    return kinds[names[config.activation]]


def _set_embedding(spec: Any, tokens: Any, embedding: Embedding) -> None:
    tokens.weight = _array(embedding.tokens.weight)
    spec.scale_embeddings = embedding.scale != 1.0  # True: times sqrt(d_model)
    if embedding.positions is not None:
        spec.position_encodings.encodings = _array(embedding.positions)


def _set_stack(spec: Any, stack: Stack) -> None:
    for to, block in zip(spec.layer, stack.blocks, strict=True):
        assert isinstance(block, TransformerBlock)
        _set_attention(to.self_attention, block.self_attention, block.self_residual, joined=3)
        if block.cross_attention is not None and block.cross_residual is not None:
            _set_attention(to.attention, block.cross_attention, block.cross_residual, joined=2)
        _set_feed_forward(to.ffn, block.feed_forward, block.feed_forward_residual)
    if isinstance(stack.norm, nn.LayerNorm | nn.RMSNorm):
        _set_norm(spec.layer_norm, stack.norm)


def _set_attention(spec: Any, attention: MultiHeadAttention, residual: Residual, *, joined: int) -> None:
    """The last `joined` of queries, keys and values are one matrix."""
    projections = [attention.query, attention.key, attention.value]
    for to, linear in zip(spec.linear, projections[: 3 - joined], strict=False):
        _set_linear(to, linear)
    together = projections[3 - joined :]
    spec.linear[3 - joined].weight = np.concatenate([_array(linear.weight) for linear in together])
    if all(linear.bias is not None for linear in together):
        spec.linear[3 - joined].bias = np.concatenate([_array(linear.bias) for linear in together])
    _set_linear(spec.linear[-1], attention.out)
    _set_norm(spec.layer_norm, residual.norm)


def _set_feed_forward(spec: Any, network: FeedForward | GatedFeedForward, residual: Residual) -> None:
    if isinstance(network, GatedFeedForward):
        _set_linear(spec.linear_0, network.gate)
        _set_linear(spec.linear_0_noact, network.inner)
    else:
        _set_linear(spec.linear_0, network.inner)
    _set_linear(spec.linear_1, network.outer)
    _set_norm(spec.layer_norm, residual.norm)


def _set_norm(spec: Any, norm: nn.LayerNorm | nn.RMSNorm) -> None:
    spec.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        spec.beta = _array(norm.bias)


def _set_linear(spec: Any, linear: nn.Linear) -> None:
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
