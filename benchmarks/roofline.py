"""The hardware limit of decoding: floating-point operations and bytes of a step, and what the machine does of each."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.runner import seconds_of
from transformer.config import ModelConfig
from transformer.prepacked import prepack

BYTES = {"cpu": 4, "cuda": 2}
"""Bytes per number: float32 and bfloat16."""


def measure_machine(device: str) -> dict[str, float]:
    """Measure GFLOP/s of matrix products (prepacked if possible) and GB/s of a copy (bytes read and written).

    On a CPU the products are those of a step of base with a batch of 32 and a beam of 4 (128 rows, 512 to 2,048), on a
    GPU those of large square matrices.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    rows, inner, outer = (128, 512, 2048) if device == "cpu" else (8192, 8192, 8192)
    x = torch.randn(rows, inner, device=device, dtype=dtype)
    data = torch.randn(32 * 2**20, device=device)
    target = torch.empty_like(data)
    multiply = torch.nn.Sequential(torch.nn.Linear(inner, outer, bias=False, device=device, dtype=dtype))
    prepack(multiply)
    product = _fastest_seconds(lambda: multiply(x), device)
    copy = _fastest_seconds(lambda: target.copy_(data), device)
    return {
        "matmul_gflop_per_second": round(2 * rows * inner * outer / product / 1e9, 1),
        "copy_gb_per_second": round(2 * data.nbytes / copy / 1e9, 1),
    }


@torch.inference_mode()
def _fastest_seconds(call: Callable[[], Any], device: str, repeats: int = 50) -> float:
    return min([seconds_of(call, device) for _ in range(repeats + 3)][3:])


def decoding_work(
    config: ModelConfig, sources: list[list[int]], beam: int, tokens: int, bytes_of_a_number: int
) -> dict[str, float]:
    """Return what it takes to write `tokens` per source: encoding, and steps that each read all decoder weights and
    all keys and values so far, and multiply them with one row per hypothesis.

    It leaves out what not every implementation needs: norms, the softmax over the vocabulary, and moving keys and
    values when hypotheses are reordered.
    """
    d, ff, layers = config.d_model, config.d_ff, config.decoder_layers
    batch, longest = len(sources), max(map(len, sources))
    rows = batch * beam
    block = 4 * d * d + 2 * d * ff  # numbers in the matrices of one encoder block
    step_weights = layers * (block + 2 * d * d) + config.vocab_size * d  # + cross-attention's W^Q and W^O
    attended = tokens / 2 + longest  # keys per hypothesis in the middle step
    step_flop = rows * 2 * (step_weights + layers * 2 * d * attended)
    cached = layers * 2 * d * (rows * tokens / 2 + batch * longest)
    step_bytes = bytes_of_a_number * (step_weights + cached + rows * config.vocab_size)
    per_token = config.n_layers * (block + 2 * d * longest) + layers * 2 * d * d  # + cross-attention's W^K and W^V
    return {
        "sentences": batch,
        "steps": tokens,
        "mflop_per_step": round(step_flop / 1e6, 1),
        "mb_per_step": round(step_bytes / 1e6, 1),
        "encoder_mflop": round(2 * batch * longest * per_token / 1e6, 1),
    }


def fastest(work: dict[str, float], limits: dict[str, float]) -> float:
    """Return the output tokens per second of a program that does this work at the machine's limits."""
    flop, byte = 1e-3 / limits["matmul_gflop_per_second"], 1e-3 / limits["copy_gb_per_second"]  # seconds of 1e6 of them
    step = max(work["mflop_per_step"] * flop, work["mb_per_step"] * byte)
    seconds = work["steps"] * step + work["encoder_mflop"] * flop
    return work["sentences"] * work["steps"] / seconds
