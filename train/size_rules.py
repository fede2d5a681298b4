"""The rules of `size=auto`: which settings fit a number of sentence pairs on a machine."""

import math
import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

Settings = dict[str, Any]
"""Values by name, such as {"model.d_model": 128}."""
RULES_VERSION = 2
"""Raise it if a change of this file gives other settings."""


@dataclass(frozen=True)
class Machine:
    """What the rules depend on besides the text."""

    kind: Literal["cpu", "gpu"]
    """`gpu` for CUDA, `cpu` for everything else."""
    cores: int
    """CPU cores. 0 for a GPU, whose rules do not depend on them."""
    bf16: bool
    """True if matrix products are faster in bf16 than in fp32."""

    @classmethod
    def here(cls) -> "Machine":
        """Return this machine. `set_threads` must have been called."""
        if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes"):
            return cls("gpu", 0, torch.cuda.is_bf16_supported())
        able = torch.cpu.get_capabilities()
        cores = torch.get_num_threads() * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return cls("cpu", cores, bool(able.get("avx512_bf16") or able.get("amx_bf16")))

    def __str__(self) -> str:
        cores = "1 CPU core" if self.cores == 1 else f"{self.cores} CPU cores"
        return f"{'a GPU' if self.kind == 'gpu' else cores} {'with' if self.bf16 else 'without'} bf16"


@dataclass(frozen=True)
class Rule:
    """A row of the table: settings for a text of fewer than `below` usable pairs."""

    below: float
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    dropout: float
    tokens_per_update: int
    epochs: int
    """Number of times that training reads the text."""
    peak_lr: float
    tokens_per_core: int = 50_000_000
    """Target tokens that a CPU trains on at most, per core: for a new model, 2 cores of an AMD EPYC with bf16 take
    about 9 hours."""

    def settings(self, machine: Machine, vocab_size: int) -> Settings:
        """Return the settings that do not depend on the prepared data."""
        return {
            "data.vocab_size": vocab_size,
            "model.d_model": self.d_model,
            "model.n_layers": self.n_layers,
            "model.n_heads": self.n_heads,
            "model.d_ff": self.d_ff,
            "model.dropout": self.dropout,
            "model.norm": "pre",
            "batches.buckets": 96,
            "schedule.name": "wsd",
            "schedule.peak_lr": self.peak_lr,
            "schedule.lowest_lr": float(f"{self.peak_lr / 100:.6g}"),
            "train.precision": "bf16" if machine.bf16 else "no",
        }

    def update_sizes(self) -> list[Settings]:
        """Return sizes of an update from small to large. The first one that fits the longest sentence is used."""
        sizes = [(1, 4), (1, 2), (2, 2), (4, 2), (8, 2), (16, 2), (32, 2), (64, 2)]
        return [
            {"batches.tokens_per_update": self.tokens_per_update * factor, "batches.per_update": per_update}
            for factor, per_update in sizes
        ]

    def updates(self, per_epoch: int, tokens_per_update: int, machine: Machine) -> int:
        """Return the number of updates for a text of `per_epoch` updates."""
        most = math.inf if machine.kind == "gpu" else machine.cores * self.tokens_per_core / tokens_per_update
        return int(max(FEWEST_UPDATES, min(self.epochs * per_epoch, most)))


SMALL = (
    Rule(2_000, 1_000, 128, 2, 4, 512, 0.3, 640, 60, 2e-3),
    Rule(15_000, 2_000, 256, 3, 4, 1024, 0.3, 1250, 25, 1.5e-3),
    Rule(100_000, 4_000, 256, 3, 4, 1024, 0.2, 2500, 15, 2e-3),
)
RULES = {
    "cpu": (*SMALL, Rule(math.inf, 8_000, 256, 3, 4, 1024, 0.1, 5000, 10, 2e-3)),
    "gpu": (*SMALL, Rule(1_000_000, 16_000, 512, 6, 8, 2048, 0.3, 12_500, 40, 1e-3)),
}
"""Rows by kind of machine. A larger text on a GPU gets the paper's base model."""
FEWEST_UPDATES = 100
FINETUNING: Settings = {"dropout": 0.1, "epochs": 6, "peak_lr": 3e-4, "tokens_per_core": 1_000_000}
"""What differs in all rows if training starts from another model. Chosen on 5,000 pairs of Multi30k and the included
model from English to German."""

PARENT_SHARE = 0.5
"""`checkpoints.parent_share` if training starts from another model."""


def find_rule(pairs: int, machine: Machine) -> Rule | None:
    """Return the row for a text of this number of usable pairs; None is the paper's base model."""
    return next((rule for rule in RULES[machine.kind] if pairs < rule.below), None)


def finetuning_rule(pairs: int, machine: Machine, d_model: int) -> Rule:
    """Return the row for a text of this number of usable pairs if training starts from a model with `d_model`."""
    rule = find_rule(pairs, machine) or RULES[machine.kind][-1]
    peak_lr = float(f"{FINETUNING['peak_lr'] * min(1, 256 / d_model):.3g}")
    return replace(rule, **FINETUNING | {"peak_lr": peak_lr})


def schedule_settings(updates: int) -> Settings:
    """Return the settings that follow from the number of updates."""
    return {
        "schedule.warmup_steps": max(1, min(400, updates // 10)),
        "train.log_every": max(1, min(100, updates // 10)),
        "validation.every": max(1, updates // 8),
        "checkpoints.every": max(1, updates // 24),
    }
