"""What the exercises that compare trainings share: start one with the command people use, and read what it reached."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from common.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Outcome:
    """What a run wrote of itself."""

    parameters: int
    valid_losses: dict[int, float]
    """Nats per token over the whole validation text, by update."""

    @property
    def last(self) -> float:
        """The loss at the end of the run, not the lowest on the way."""
        return self.valid_losses[max(self.valid_losses)]


def train(run_dir: Path, config: str, *overrides: str) -> Outcome:
    """Train, or continue, or only read a run that has ended. Raises ValueError where training fails."""
    command = ["train/train.py", "--config", f"configs/{config}.yaml", f"run_dir={run_dir.resolve()}", *overrides]
    print("$ python", *command, flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise InputError(f"the command above ended with status {done.returncode}")
    return read(run_dir)


def read(run_dir: Path) -> Outcome:
    """The outcome of a finished run."""
    from transformer.model import count_parameters
    from transformer.pretrained import load_pretrained

    model, _ = load_pretrained(run_dir)
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return Outcome(
        parameters=count_parameters(model),
        valid_losses={line["step"]: line["valid_loss"] for line in metrics if "valid_loss" in line},
    )


def summary(losses: list[float]) -> dict[str, Any]:
    """Mean, lowest and highest, and all of them."""
    return {"mean": mean(losses), "lowest": min(losses), "highest": max(losses), "seeds": losses}
