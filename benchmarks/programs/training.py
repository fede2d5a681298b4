"""What all training programs have in common: the task, the updates, and how they answer."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch import _dynamo as dynamo
from torch import _inductor as inductor
from torch._dynamo.utils import counters
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.runner import Answer, memory_mb, synchronise
from data_pipeline.examples import IGNORE, Batch
from data_pipeline.micro_batches import Update
from transformer.config import ModelConfig

SMOOTHING, SEED = 0.1, 1
Compiled = Literal["no", "dynamic", "fixed", "graphs"]
"""Use of torch.compile. `dynamic`: PyTorch's default, one graph for all shapes from the second shape on. `fixed`: a
graph for each shape. `graphs`: `fixed`, and on a GPU each graph is launched as one CUDA graph."""


@dataclass(frozen=True)
class TrainTask:
    """What one program trains on in one cell of the table."""

    compiled: Compiled
    precision: Literal["no", "bf16"]
    config: dict[str, Any]
    """Fields of the `ModelConfig`."""
    updates: str
    """File with the updates that are timed, written by `save_work`."""
    warm_up: str
    """File with the updates before."""
    device: str
    bf16_weights: bool = False
    """Forward and backward pass use weights in bf16 instead of autocast; the optimizer updates fp32 copies of them."""


Work = tuple[Update, list[Batch]]
"""An update and its batches."""
Learn = Callable[[Work], object]
"""Makes one update."""
Requests = dict[str, Callable[[list[Work]], dict[str, Any]]]
"""Further requests that a program answers, by name."""


def save_work(work: list[Work], file: Path) -> None:
    """Save updates as tensors and numbers."""
    kept = []
    for update, batches in work:
        tensors = [(batch.inputs, batch.labels_BL, batch.dropout_seed) for batch in batches]
        kept.append((update.step, update.src_tokens, update.predicted_tokens, tensors))
    torch.save(kept, file)


def load_work(file: str, device: str = "cpu") -> list[Work]:
    """Load updates, prepared for the device as in the training loop, without the indices of their examples."""
    place = torch.device(device)
    return [
        (Update(step, (), src, predicted), [Batch(tuple(x), y, seed).ready_for(place) for x, y, seed in tensors])
        for step, src, predicted, tensors in torch.load(file, weights_only=True)
    ]


def answer_with(task: TrainTask, load: Callable[[TrainTask], tuple[Learn, Requests]]) -> Answer:
    """Load the model and warm up. The request `time` trains on all updates and returns seconds, peak memory, the number
    of graphs compiled since the warm-up, and the seconds of loading and warm-up."""
    torch.manual_seed(SEED)
    set_shapes(task.compiled)
    work, warm_up = (load_work(file, task.device) for file in (task.updates, task.warm_up))
    before = 0.0 if task.device == "cuda" else memory_mb("VmRSS")
    began = time.perf_counter()
    learn, requests = load(task)
    for one in warm_up:
        learn(one)
    synchronise(task.device)
    start = time.perf_counter() - began
    graphs = counters["stats"]["unique_graphs"]

    def answer(request: str) -> dict[str, Any]:
        if request != "time":
            return requests[request](work)
        synchronise(task.device)
        started = time.perf_counter()
        for one in work:
            learn(one)
        synchronise(task.device)
        seconds, peak = time.perf_counter() - started, peak_mb(task.device) - before
        recompiles = counters["stats"]["unique_graphs"] - graphs
        return {"seconds": seconds, "peak_mb": peak, "recompiles": recompiles, "start": start}

    return answer


def set_shapes(compiled: Compiled) -> None:
    """Choose how torch.compile treats shapes. Without these limits, the ninth shape would run without a graph."""
    dynamo.config.recompile_limit = dynamo.config.accumulated_recompile_limit = 10_000
    dynamo.config.automatic_dynamic_shapes = compiled not in ("fixed", "graphs")
    inductor.config.triton.cudagraphs = compiled == "graphs"


def peak_mb(device: str) -> float:
    """Return the peak memory of this process; on a GPU what PyTorch has reserved."""
    return torch.cuda.max_memory_reserved() / 1e6 if device == "cuda" else memory_mb("VmHWM")


def plain_loop(
    task: TrainTask, make: Callable[[ModelConfig], tuple[nn.Module, Callable[..., Tensor]]]
) -> tuple[Learn, Requests]:
    """Return the usual training loop around a model and the function that computes its logits."""
    model, logits = make(ModelConfig(**task.config))
    model.to(task.device).train()
    if task.compiled != "no":
        logits = torch.compile(logits)
    weights = list(model.parameters())
    updated = [nn.Parameter(weight.detach().clone()) for weight in weights] if task.bf16_weights else weights
    if task.bf16_weights:
        model.bfloat16()
    optimizer = torch.optim.Adam(updated, lr=1e-5, betas=(0.9, 0.98), eps=1e-9, fused=True)
    autocast = task.precision == "bf16" and not task.bf16_weights
    unfused = task.device == "cpu" and task.precision == "bf16"  # there, fused attention is slow
    attention = partial(sdpa_kernel, SDPBackend.MATH) if unfused else nullcontext

    def learn(work: Work) -> None:
        update, batches = work
        model.zero_grad()
        for on_host in batches:
            batch = on_host.to(torch.device(task.device))
            with torch.autocast(task.device, torch.bfloat16, enabled=autocast), attention():
                logits_BLV = logits(*batch.inputs)
            loss = F.cross_entropy(
                logits_BLV.float().flatten(0, 1),
                batch.labels_BL.flatten(),
                ignore_index=IGNORE,
                label_smoothing=SMOOTHING,
                reduction="sum",
            )
            (loss / update.predicted_tokens).backward()
        if task.bf16_weights:
            for copy, weight in zip(updated, weights, strict=True):
                copy.grad = None if weight.grad is None else weight.grad.float()
        optimizer.step()
        if task.bf16_weights:
            torch._foreach_copy_([weight.detach() for weight in weights], [copy.detach() for copy in updated])

    return learn, {}
