"""What the exercises that compare trainings have in common: train with the usual command, and read the result."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.runner import ROOT
from common.errors import InputError
from common.settings import last_overrides
from transformer.model import count_parameters
from transformer.pretrained import load_pretrained

OUT = Path("runs/results")
"""Default folder of an exercise's result. `--out benchmarks/results` replaces the result of this repository."""


@dataclass(frozen=True)
class Trained:
    """Figures of a finished run."""

    parameters: int
    valid_losses: dict[int, float]
    """Loss on the whole validation text in nats per token, by update."""

    @property
    def last(self) -> float:
        """Loss at the end of the run, not the lowest one."""
        return self.valid_losses[max(self.valid_losses)]


def train(run_dir: Path, config: str, *overrides: str) -> Trained:
    """Train or resume a run, or read it if it is finished. Raises InputError if training fails."""
    settings = last_overrides([f"run_dir={run_dir.resolve()}", *overrides])
    command = ["train/train.py", "--config", f"configs/{config}.yaml", *settings]
    print("$ python", *command, flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise InputError(f"the command above ended with status {done.returncode}")
    return read(run_dir)


def read(run_dir: Path) -> Trained:
    """Return the figures of a finished run."""
    model, _ = load_pretrained(run_dir)
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return Trained(
        parameters=count_parameters(model),
        valid_losses={line["step"]: line["valid_loss"] for line in metrics if "valid_loss" in line},
    )


def summary(losses: list[float]) -> dict[str, Any]:
    """Return mean, minimum and maximum of several seeds, and all values."""
    return {"mean": mean(losses), "lowest": min(losses), "highest": max(losses), "seeds": losses}


def show_seeds(losses: dict[str, Any]) -> str:
    """Return a summary as text."""
    return f"{losses['mean']:.4f} ({losses['lowest']:.4f} to {losses['highest']:.4f})"
