"""The loss beside PyTorch's function, forward and backward in turn: milliseconds of a batch.

    python benchmarks/loss.py
    python benchmarks/loss.py --device cuda --tokens 8192

Writes benchmarks/results/loss.json (loss_gpu.json).
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from data_pipeline.examples import IGNORE
from train.loss import smoothed_cross_entropy

SMOOTHING = 0.1


def pytorch(logits_BLV: Tensor, labels_BL: Tensor, smoothing: float) -> Tensor:
    """The same sum by `torch.nn.functional.cross_entropy`, in fp32."""
    logits_NV, labels_N = logits_BLV.flatten(0, 1).float(), labels_BL.flatten()
    return torch.nn.functional.cross_entropy(
        logits_NV, labels_N, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )


WAYS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"ours": smoothed_cross_entropy, "pytorch": pytorch}


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=640, help="of a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few rounds, no file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [
        measure(args, vocab, dtype)
        for vocab, dtype in itertools.product((4000, 37000), (torch.bfloat16, torch.float32))
    ]
    result = {"tokens": args.tokens, "threads": args.threads, "machine": describe_machine(), "losses": rows}
    if not args.quick:
        write_result("loss" if args.device == "cpu" else "loss_gpu", result)


def measure(args: argparse.Namespace, vocab: int, dtype: torch.dtype) -> dict[str, Any]:
    """Both ways, in turn."""
    torch.manual_seed(1)
    logits_BLV = torch.randn(1, args.tokens, vocab, device=args.device, dtype=dtype, requires_grad=True)
    labels_BL = torch.randint(0, vocab, (1, args.tokens), device=args.device)
    labels_BL[:, ::12] = IGNORE
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _, (name, loss) in itertools.product(range(2 if args.quick else args.rounds + 1), WAYS.items()):
        logits_BLV.grad = None
        started = time.perf_counter()
        (loss(logits_BLV, labels_BL, SMOOTHING) / args.tokens).backward()
        if args.device == "cuda":
            torch.cuda.synchronize()
        times[name].append(time.perf_counter() - started)
    ratios = [theirs / ours for ours, theirs in zip(times["ours"][1:], times["pytorch"][1:], strict=True)]
    return {
        "vocabulary": vocab,
        "dtype": str(dtype).removeprefix("torch."),
        **{f"{name}_ms": round(1e3 * statistics.median(own[1:]), 2) for name, own in times.items()},
        "times_as_fast": [round(pick(ratios), 2) for pick in (statistics.median, min, max)],
    }


if __name__ == "__main__":
    run_command(main)
