"""Measure the speed-up of matrix products by prepacked weights (oneDNN), with the sizes of decoding.

    python -m benchmarks.products

Each product uses one of several equal matrices, more than fit into the caches, as in a model. Writes
benchmarks/results/products.json.
"""

import itertools
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.runner import Tables, command_line, new_result, save, seconds_of, table
from common.command import run_command
from common.errors import InputError
from transformer.prepacked import PrepackedLinear, can_prepack

SHAPES = ((256, 256), (256, 1024), (1024, 256), (512, 2048), (512, 37000))
ROWS = (1, 4, 32, 128)
CACHES = 64 * 2**20
"""Bytes of matrices that exceed one core's share of any cache."""


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each product, plain and prepacked")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not can_prepack(torch.zeros(1)):
        raise InputError("this machine's PyTorch has no oneDNN product for x86 CPUs")
    shapes, seconds = (SHAPES[:1], 0.0) if args.smoke_test else (SHAPES, args.seconds)
    products = [
        measure(shape, rows, dtype, seconds)
        for dtype, shape, rows in itertools.product((torch.float32, torch.bfloat16), shapes, ROWS)
        if can_prepack(torch.zeros(1, dtype=dtype))
    ]
    result = new_result(threads=args.threads, products=products)
    save("products", result, make_tables(result), smoke_test=args.smoke_test)


@torch.inference_mode()
def measure(shape: tuple[int, int], rows: int, dtype: torch.dtype, seconds: float) -> dict[str, Any]:
    """Return the median microseconds of one product, plain and prepacked, measured in turn."""
    count = max(1, CACHES // (shape[0] * shape[1] * dtype.itemsize))
    plain = [nn.Linear(*shape, dtype=dtype) for _ in range(count)]
    layers: dict[str, list[nn.Module]] = {
        "plain": list(plain),
        "prepacked": [PrepackedLinear(linear) for linear in plain],
    }
    x = torch.randn(rows, shape[0], dtype=dtype)
    times: dict[str, list[float]] = {name: [] for name in layers}
    until = time.perf_counter() + 2 * seconds
    while time.perf_counter() < until or len(times["prepacked"]) < 4:
        for name, own in layers.items():
            times[name].append(seconds_of(lambda own=own: multiply(own, x)) / count)  # type: ignore[misc]
    middle = {name: statistics.median(own[1:]) * 1e6 for name, own in times.items()}
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "in": shape[0],
        "out": shape[1],
        "rows": rows,
        **{name: round(own, 1) for name, own in middle.items()},
        "speed_up": round(middle["plain"] / middle["prepacked"], 2),
    }


def multiply(layers: list[nn.Module], x: Tensor) -> None:
    """Multiply by each of the matrices."""
    for layer in layers:
        layer(x)


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per matrix and a column per number of rows."""
    counts = sorted({own["rows"] for own in result["products"]})
    cells: dict[tuple[str, int, int], list[str]] = {}
    for own in result["products"]:
        shown = f"{own['plain']:,.0f} to {own['prepacked']:,.0f} µs, {own['speed_up']:.1f}x"
        cells.setdefault((own["dtype"], own["in"], own["out"]), []).append(shown)
    headings = ["dtype", "matrix", *(f"{n} rows" if n > 1 else "1 row" for n in counts)]
    rows = [[dtype, f"{inner} x {outer:,}", *shown] for (dtype, inner, outer), shown in cells.items()]
    return {"products": [table(headings, rows, f"{result['threads']} threads.")]}


if __name__ == "__main__":
    run_command(main)
