"""What the exercises that compare trainings share: start one with the command people use, and read what it reached."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Outcome:
    """What a run wrote of itself."""

    parameters: int
    valid_losses: dict[int, float]
    """Nats per token over the whole validation text, by update."""
    seconds_per_update: float

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
        raise ValueError(f"the command above ended with status {done.returncode}")
    return read(run_dir)


def read(run_dir: Path) -> Outcome:
    """The outcome of a finished run."""
    from transformer.model import count_parameters
    from transformer.pretrained import load_pretrained

    model, _ = load_pretrained(run_dir)
    metrics, timing = (_lines(run_dir / name) for name in ("metrics.jsonl", "timing.jsonl"))
    speeds = sorted(line["seconds_per_update"] for line in timing if "seconds_per_update" in line)
    return Outcome(
        parameters=count_parameters(model),
        valid_losses={line["step"]: line["valid_loss"] for line in metrics if "valid_loss" in line},
        seconds_per_update=speeds[len(speeds) // 2],
    )


def summary(losses: list[float]) -> dict[str, Any]:
    """Mean, lowest and highest, and all of them."""
    return {"mean": mean(losses), "lowest": min(losses), "highest": max(losses), "seeds": losses}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
