"""What packing a matrix for oneDNN gains: the products of decoding, plain and packed, in turn.

    python benchmarks/products.py

Each product is that of one of several equal matrices, so many that they do not stay in the caches, as in a model.
Writes benchmarks/results/products.json.
"""

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.errors import InputError
from transformer.prepacked import PrepackedLinear, can_prepack

SHAPES = ((256, 256), (256, 1024), (1024, 256), (512, 2048), (512, 37000))
ROWS = (1, 4, 32, 128)
CACHES = 64 * 2**20  # bytes of matrices that are more than a core's share of any cache


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each product in each way")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not can_prepack(torch.zeros(1)):
        raise InputError("this machine's PyTorch has no oneDNN product for x86 processors")
    products = [
        measure(shape, rows, dtype, args.seconds)
        for dtype, shape, rows in itertools.product((torch.float32, torch.bfloat16), SHAPES, ROWS)
        if can_prepack(torch.zeros(1, dtype=dtype))
    ]
    write_result("products", {"threads": args.threads, "machine": describe_machine(), "products": products})


@torch.inference_mode()
def measure(shape: tuple[int, int], rows: int, dtype: torch.dtype, seconds: float) -> dict[str, Any]:
    """Microseconds of one product, plain and packed: medians of turns that alternate."""
    count = max(1, CACHES // (shape[0] * shape[1] * dtype.itemsize))
    plain = [nn.Linear(*shape, dtype=dtype) for _ in range(count)]
    ways: dict[str, list[nn.Module]] = {"plain": list(plain), "packed": [PrepackedLinear(linear) for linear in plain]}
    x = torch.randn(rows, shape[0], dtype=dtype)
    times: dict[str, list[float]] = {name: [] for name in ways}
    until = time.perf_counter() + 2 * seconds
    while time.perf_counter() < until or len(times["packed"]) < 4:
        for name, linears in ways.items():
            times[name].append(_turn(linears, x))
    middle = {name: statistics.median(own[1:]) * 1e6 for name, own in times.items()}
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "in": shape[0],
        "out": shape[1],
        "rows": rows,
        **{name: round(own, 1) for name, own in middle.items()},
        "times_as_fast": round(middle["plain"] / middle["packed"], 2),
    }


def _turn(linears: list[nn.Module], x: Tensor) -> float:
    """Seconds of a product, on average over all of the matrices."""
    started = time.perf_counter()
    for linear in linears:
        linear(x)
    return (time.perf_counter() - started) / len(linears)


if __name__ == "__main__":
    run_command(main)
