"""Find the largest micro-batch of base and big that fits the memory of a GPU, with memory and speed of smaller ones.

    python -m benchmarks.gpu_memory --out OUT

Sentences of 32 tokens, bf16, one micro-batch per update. Writes OUT/gpu_memory.json after every micro-batch.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.runner import ROOT, Tables, command_line, new_result, save, seconds_of, table, write
from common.command import run_command
from common.settings import load_settings
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import Update
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from train.config import RunConfig
from train.distributed import make_accelerator
from train.optimizer import make_optimizer
from train.trainer import Trainer
from transformer.model import build, count_parameters

SMALL = ("model.d_model=64", "model.n_layers=1", "model.n_heads=2", "model.d_ff=128", "model.vocab_size=1000")
"""Model settings of the smoke test."""
LENGTH = 32
"""Source and target tokens of a sentence."""
FIRST, MOST = 1024, 2**21
"""Target tokens of the first and of the largest micro-batch."""


def main() -> None:
    """Measure base and big."""
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, help="folder of the result (default: benchmarks/results)")
    args = parser.parse_args()
    device = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else None
    result = new_result(precision="bf16", tokens_of_a_sentence=LENGTH, device_gib=device)
    for size in ("base", "big"):
        settings = [*(SMALL if args.smoke_test else ()), "train.precision=bf16", "train.log_with=none"]
        config = load_settings(RunConfig, ROOT / f"configs/{size}.yaml", settings)
        for own in measure(config, FIRST if args.smoke_test else MOST):
            result[size] = own
            write("gpu_memory", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)
    save("gpu_memory", result, make_tables(result), smoke_test=args.smoke_test, folder=args.out)


def measure(config: RunConfig, most: int) -> Iterator[dict[str, Any]]:
    """Double the micro-batch until it does not fit or has `most` target tokens, then search for the limit. Yield what
    is known after each."""
    accelerator = make_accelerator(config.train, Path())
    torch.manual_seed(1)
    model = build(config.model).to(accelerator.device)
    trainer = Trainer(model, make_optimizer(model, config.optimizer), accelerator, config)
    result: dict[str, Any] = {"parameters": count_parameters(model), "tried": {}}
    fits, too_many = 0, None
    tokens: int | None = min(most, FIRST)
    while tokens is not None:
        cost = try_update(trainer, accelerator, config, tokens)
        if cost is None:
            too_many = tokens
        else:
            result["tried"][tokens], fits = cost, tokens
        tokens = next_size(fits, too_many, most)
        yield result | {"largest_tokens": fits, "found_the_limit": too_many is not None}
    accelerator.free_memory()


def next_size(fits: int, too_many: int | None, most: int) -> int | None:
    """Return the next number of tokens to try; None if the limit is known to a sixteenth, or `most` fits."""
    if too_many is None:
        return None if fits >= most else min(most, 2 * fits)
    middle = (fits + too_many) // 2 // LENGTH * LENGTH
    return None if middle - fits < too_many / 32 or not middle else middle


def try_update(
    trainer: Trainer, accelerator: Accelerator, config: RunConfig, tokens: int
) -> dict[str, float | None] | None:
    """Return peak memory and speed of an update of one micro-batch; None if it does not fit."""
    rows, device = max(1, tokens // LENGTH), accelerator.device.type
    src_BM, tgt_BL, labels_BL = torch.randint(EOS_ID + 1, config.model.vocab_size, (3, rows, LENGTH))
    batch = Batch((src_BM, torch.ones_like(src_BM, dtype=torch.bool), tgt_BL), labels_BL, dropout_seed=1)
    update = Update(step=0, bucket_batches=(), src_tokens=rows * LENGTH, predicted_tokens=rows * LENGTH)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        seconds = [seconds_of(lambda: trainer.step(update, [batch], lambda: ()), device) for _ in range(3)]
    except torch.OutOfMemoryError:
        trainer.clear_gradient()
        gc.collect()
        torch.cuda.empty_cache()
        return None
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None
    return {"peak_gib": peak, "tgt_tokens_per_second": round(rows * LENGTH / min(seconds[1:]))}  # the first warms up


def make_tables(result: dict[str, Any]) -> Tables:
    """Return memory and speed of every micro-batch."""
    rows = [
        [size, f"{tokens:,}", own["peak_gib"] or "", f"{own['tgt_tokens_per_second']:,}"]
        for size in ("base", "big")
        for tokens, own in sorted(result.get(size, {}).get("tried", {}).items())
    ]
    headings = ["size", "target tokens of the micro-batch", "peak memory (GiB)", "target tokens/s"]
    return {"gpu_memory": [table(headings, rows)]}


if __name__ == "__main__":
    run_command(main)
