"""Record a forward pass and a search from outside: hooks on modules, and functions around `start` and `step`.

The model has no switch for this. What is recorded are the tensors of the model that translates.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from evaluate.decoding.search import log_probs
from evaluate.eval_mode import eval_mode
from transformer.attention import MultiHeadAttention
from transformer.cache import DecodingState
from transformer.config import ModelConfig
from transformer.model import GPT, Transformer

SUBLAYERS = ("self_attention", "cross_attention")


@dataclass(frozen=True)
class Operation:
    """One operation of a forward pass and its result."""

    name: str
    """Path of the module in the model, such as `encoder.blocks.0.self_attention`."""
    text: str
    """Formula."""
    paper: str
    """Where the paper describes it."""
    dims: str
    """One letter for each dimension (`transformer/__init__.py`)."""
    value: Tensor


@dataclass
class SearchRecord:
    """What the model and the search exchanged."""

    prompt_BL: Tensor = field(default_factory=lambda: torch.empty(0))
    """Token ids that `start` got."""
    max_len: int = 0
    """Largest number of tokens of the decoder."""
    tokens: list[list[int]] = field(default_factory=list)
    """Tokens fed in each step, one per row."""
    log_probs_NV: list[Tensor] = field(default_factory=list)
    """Log-probabilities of the next token in each step, before the search changed them."""
    parents: list[list[int] | None] = field(default_factory=list)
    """After each step: the old row of each new row; None if the rows were not reordered."""


@contextmanager
def recorded_search(model: Transformer | GPT) -> Iterator[SearchRecord]:
    """Yield a record that receives all that the model and a search or a generation exchange."""
    record, start, step = SearchRecord(), model.start, model.step

    def recording_start(*args: Any) -> DecodingState:
        state = start(*args)
        record.prompt_BL, record.max_len = args[0], args[-1]
        replaced.enter_context(_replaced(state, "reorder", recording_reorder(state.reorder)))
        return state

    def recording_step(tokens_N: Tensor, state: DecodingState) -> Tensor:
        logits_NV = step(tokens_N, state)
        record.tokens.append(tokens_N.tolist())
        record.log_probs_NV.append(log_probs(logits_NV))
        record.parents.append(None)
        return logits_NV

    def recording_reorder(reorder: Callable[..., None]) -> Callable[..., None]:
        def recording(index_N: Tensor, same_sentences: bool = False) -> None:
            record.parents[-1] = index_N.tolist()
            reorder(index_N, same_sentences)

        return recording

    with ExitStack() as replaced:
        replaced.enter_context(_replaced(model, "start", recording_start))
        replaced.enter_context(_replaced(model, "step", recording_step))
        yield record


def record_forward(model: Transformer | GPT, *inputs: Tensor) -> list[Operation]:
    """Return the operations of a forward pass in evaluation mode, in order, and the probabilities that follow."""
    values: dict[str, Tensor] = {}
    with ExitStack() as stack, eval_mode(model), torch.inference_mode():
        for name, module in model.named_modules():
            hook = _hook(name, module, values)
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        logits_BLV = model(*inputs)
    values["softmax"] = log_probs(logits_BLV).exp()
    described = ((name, value, describe(name, model.config)) for name, value in values.items())
    return [
        Operation(name, *found, _split_heads(value, _head_size(name, model.config)) if "K" in found[-1] else value)
        for name, value, found in described
        if found is not None
    ]


def attention_maps(operations: Sequence[Operation]) -> dict[str, Tensor]:
    """Return the attention weights of each stack and kind, such as `decoder cross_attention`: (layers, H, L, M)."""
    found: dict[str, list[Tensor]] = {}
    for operation in operations:
        if operation.name.endswith(".weights"):
            stack, _, _, kind, _ = operation.name.split(".")
            found.setdefault(f"{stack} {kind}", []).append(operation.value[0])
    return {name: torch.stack(layers) for name, layers in found.items()}


def describe(name: str, config: ModelConfig) -> tuple[str, str, str] | None:
    """Return formula, place in the paper and dimensions of a module's result; None if it is a detail of another one."""
    last = name.rpartition(".")[2]
    if last == "norm" and name not in ("encoder.norm", "decoder.norm"):
        return None
    memory = "memory" if "cross_attention" in name else "x"
    activation = "max(0, {})" if config.activation == "relu" else f"{config.activation}({{}})"
    norm = "LayerNorm" if config.norm_kind == "layer" else "RMSNorm"
    residual = f"x + Sublayer({norm}(x))" if config.norm == "pre" else f"{norm}(x + Sublayer(x))"
    embedding = "E[id]" + " * sqrt(d_model)" * config.scale_embedding + " + PE" * (config.positions != "rotary")
    return {
        "tokens": ("E[id]", "section 3.4", "BLD"),
        **dict.fromkeys(("src_embedding", "tgt_embedding", "embedding"), (embedding, "sections 3.4, 3.5", "BLD")),
        "query": ("Q = x W^Q", "section 3.2.2", "BHLK"),
        "key": (f"K = {memory} W^K", "section 3.2.2", "BHMK"),
        "value": (f"V = {memory} W^V", "section 3.2.2", "BHMK"),
        "weights": ("softmax(Q K^T / sqrt(d_k))", "Eq. 1", "BHLM"),
        **dict.fromkeys(SUBLAYERS, ("Concat(head_1..h) W^O", "section 3.2.2", "BLD")),
        **dict.fromkeys(("self_residual", "cross_residual", "feed_forward_residual"), (residual, "section 3.1", "BLD")),
        "inner": ("x W_1 + b_1", "Eq. 2", "BLF"),
        "gate": ("x W_g + b_g", "not in the paper", "BLF"),
        "feed_forward": (_feed_forward(config, activation), "Eq. 2", "BLD"),
        "norm": (f"{norm}(x)", "not in the paper", "BLD"),
        "output": ("logits = x E^T" + " + b" * config.output_bias, "section 3.4", "BLV"),
        "softmax": ("softmax(logits)", "section 3.4", "BLV"),
    }.get(last)


def _feed_forward(config: ModelConfig, activation: str) -> str:
    if config.activation == "swiglu":
        return "(silu(x W_g + b_g) * (x W_1 + b_1)) W_2 + b_2"
    return f"{activation.format('x W_1 + b_1')} W_2 + b_2"


def _hook(name: str, module: nn.Module, values: dict[str, Tensor]) -> Callable[..., None]:
    """Return a hook that stores a module's result under its name; of an attention also its weights."""

    def store(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
        if isinstance(module, MultiHeadAttention):
            causal = kwargs.get("causal", False)
            values[f"{name}.weights"] = module.weights(*args, mask=kwargs["mask"], causal=causal)
        if not isinstance(module, nn.Identity):
            values[name] = result

    return store


def _head_size(name: str, config: ModelConfig) -> int:
    return config.value_size if name.endswith(".value") else config.head_size


def _split_heads(x_BLD: Tensor, head_size: int) -> Tensor:
    return x_BLD.unflatten(-1, (-1, head_size)).transpose(1, 2)


@contextmanager
def _replaced(owner: object, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Give one object another function instead of a method of its class."""
    setattr(owner, name, function)
    try:
        yield
    finally:
        delattr(owner, name)
