"""Compare output layer and loss of paper-transformer with PyTorch's: milliseconds of forward and backward pass.

    python -m benchmarks.loss
    python -m benchmarks.loss --device cuda --tokens 8192 --compile

`--compile` adds a row in which `torch.compile` has fused the operations of the gradient of the logits.
Writes benchmarks/results/loss.json (on a GPU loss_gpu.json).
"""

import itertools
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.runner import Tables, command_line, new_result, ratios, save, show_spread, spread, table, time_in_turn
from common.command import run_command
from data_pipeline.examples import IGNORE
from train import loss as train_loss
from train.loss import linear_cross_entropy

SMOOTHING = 0.1
SIZES = {4000: 256, 37000: 512}
"""d_model by vocabulary: the small and the base model of `benchmarks/training.py`."""
Loss = Callable[[Tensor, nn.Linear, Tensor, float, torch.dtype], Tensor]


def pytorch(x_BLD: Tensor, output: nn.Linear, labels_BL: Tensor, smoothing: float, dtype: torch.dtype) -> Tensor:
    """Return the same sum from the layer under autocast and `torch.nn.functional.cross_entropy` in fp32."""
    with torch.autocast(x_BLD.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits_BLV = output(x_BLD)
    logits_NV, labels_N = logits_BLV.flatten(0, 1).float(), labels_BL.flatten()
    return F.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)


LOSSES: dict[str, Loss] = {"paper-transformer": linear_cross_entropy, "PyTorch": pytorch}
COMPILED = "paper-transformer, compiled"


def main() -> None:
    """Measure and save the result."""
    parser = command_line(__doc__, rounds=15, threads=2, device=True)
    parser.add_argument("--tokens", type=int, default=640, help="tokens per batch (default: 640)")
    parser.add_argument("--compile", action="store_true", help="measure the compiled loss, too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    losses = LOSSES | ({COMPILED: compiled_loss()} if args.compile else {})
    rounds = 1 if args.smoke_test else args.rounds
    cells = itertools.product(SIZES, (torch.bfloat16, torch.float32))
    rows = [measure(losses, vocab_size, dtype, args.tokens, args.device, rounds) for vocab_size, dtype in cells]
    result = new_result(tokens=args.tokens, threads=args.threads, losses=rows)
    name = "loss" if args.device == "cpu" else "loss_gpu"
    save(name, result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def compiled_loss() -> Loss:
    """Return the loss of paper-transformer with a compiled gradient."""
    compiled = torch.compile(train_loss._replace_by_gradient, dynamic=False)

    def loss(*arguments: Any) -> Tensor:
        with patch.object(train_loss, "_replace_by_gradient", compiled):
            return linear_cross_entropy(*arguments)

    return loss


def measure(
    losses: Mapping[str, Loss], vocab_size: int, dtype: torch.dtype, tokens: int, device: str, rounds: int
) -> dict[str, Any]:
    """Time the losses in turn."""
    torch.manual_seed(1)
    x_BLD = torch.randn(1, tokens, SIZES[vocab_size], device=device, requires_grad=True)
    output = nn.Linear(SIZES[vocab_size], vocab_size, bias=False, device=device)
    labels_BL = torch.randint(0, vocab_size, (1, tokens), device=device)
    labels_BL[:, ::12] = IGNORE

    def passes(loss: Loss) -> None:
        x_BLD.grad = output.weight.grad = None
        (loss(x_BLD, output, labels_BL, SMOOTHING, dtype) / tokens).backward()

    seconds = time_in_turn({name: partial(passes, loss) for name, loss in losses.items()}, rounds, device)
    return {
        "vocabulary": vocab_size,
        "dtype": str(dtype).removeprefix("torch."),
        "milliseconds": {name: round(1e3 * statistics.median(own), 2) for name, own in seconds.items()},
        "speed_up": spread(ratios(seconds["PyTorch"], seconds["paper-transformer"]), 2),
    }


def make_tables(result: dict[str, Any]) -> Tables:
    """Return milliseconds and speed-ups."""
    losses = list(result["losses"][0]["milliseconds"])
    times = (f"{name} (ms)" for name in losses)
    headings = ["vocabulary", "dtype", *times, "speed-up of paper-transformer (min to max)"]
    rows = []
    for own in result["losses"]:
        milliseconds = (f"{own['milliseconds'][name]:.1f}" for name in losses)
        rows.append([f"{own['vocabulary']:,}", own["dtype"], *milliseconds, show_spread(own["speed_up"])])
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    return {"loss": [table(headings, rows, f"{result['tokens']} tokens, {threads}.")]}


if __name__ == "__main__":
    run_command(main)
