"""Measure the speed-up of matrix products by prepacked weights (oneDNN), with the sizes of decoding.

    python -m benchmarks.products

Each product uses one of several equal matrices, more than fit into the caches, as in a model. Writes
benchmarks/results/products.json.
"""

import itertools
import statistics
from typing import Any

import torch
from torch import nn

from benchmarks.runner import Tables, command_line, new_result, save, table, time_in_turn
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
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not can_prepack(torch.zeros(1)):
        raise InputError("this machine's PyTorch has no oneDNN product for x86 CPUs")
    shapes, rounds = (SHAPES[:1], 2) if args.smoke_test else (SHAPES, 20)
    products = [
        measure(shape, rows, dtype, rounds)
        for dtype, shape, rows in itertools.product((torch.float32, torch.bfloat16), shapes, ROWS)
        if can_prepack(torch.zeros(1, dtype=dtype))
    ]
    result = new_result(threads=args.threads, products=products)
    save("products", result, make_tables(result), smoke_test=args.smoke_test)


@torch.inference_mode()
def measure(shape: tuple[int, int], rows: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """Return the median microseconds of one product, plain and prepacked, measured in turn."""
    count = max(1, CACHES // (shape[0] * shape[1] * dtype.itemsize))
    plain = [nn.Linear(*shape, dtype=dtype) for _ in range(count)]
    prepacked = [PrepackedLinear(layer) for layer in plain]
    x = torch.randn(rows, shape[0], dtype=dtype)
    work = {"plain": lambda: [layer(x) for layer in plain], "prepacked": lambda: [layer(x) for layer in prepacked]}
    middle = {name: statistics.median(own) / count * 1e6 for name, own in time_in_turn(work, rounds).items()}
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "in": shape[0],
        "out": shape[1],
        "rows": rows,
        **{name: round(own, 1) for name, own in middle.items()},
        "speed_up": round(middle["plain"] / middle["prepacked"], 2),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row per matrix and a column per number of rows."""
    counts = sorted({own["rows"] for own in result["products"]})
    cells: dict[tuple[str, str], list[str]] = {}
    for own in result["products"]:
        shown = f"{own['plain']:,.0f} to {own['prepacked']:,.0f} µs, {own['speed_up']:.1f}x"
        cells.setdefault((own["dtype"], f"{own['in']} x {own['out']:,}"), []).append(shown)
    headings = ["dtype", "matrix", *(f"{n} rows" if n > 1 else "1 row" for n in counts)]
    return {
        "products": [table(headings, [[*key, *own] for key, own in cells.items()], f"{result['threads']} threads.")]
    }


if __name__ == "__main__":
    run_command(main)
