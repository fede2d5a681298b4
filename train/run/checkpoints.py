"""The training state on disk: safetensors and JSON, no pickle, the same for any number of devices.

A checkpoint is written to a temporary folder, flushed, sealed by a manifest of SHA-256 sums, and renamed:
it is there whole or not at all. One that does not match its manifest is named and passed over.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from common.errors import InputError
from train.distributed import local_rank
from transformer.pretrained import put_weights, save_tensors, weights

Kind = Literal["regular", "final", "interrupted", "best"]
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """The small rest beside weights and moments."""

    step: int
    """Updates done."""
    best_step: int | None = None
    """Validation with the lowest loss so far."""
    best_loss: float | None = None
    scaler: dict[str, Any] | None = None
    """Loss scaling of fp16."""
    bad_updates: int = 0
    """In a row, at the end: left out because they were not finite."""


class Checkpoints:
    """The folder `checkpoints/` of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        kind: Kind,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        metrics: str,
        keep: int,
    ) -> None:
        """Write one checkpoint and remove those that are no longer kept.

        `metrics` are the lines of `metrics.jsonl` until now: a continued run begins with them. `regular` checkpoints
        are evenly spaced, and the last `keep` stay. A `final` one ends a run between two of them, and an `interrupted`
        one serves resuming only; both go when the run goes on. `best` holds weights alone.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove_unfinished()
        target = self.folder / f"{kind}-{progress.step:08d}"
        if target.exists() and find_damage(target):
            self._remove(target)
        if not target.exists():
            temporary = self.folder / f".{target.name}.tmp"
            temporary.mkdir()
            save_tensors(temporary / "model.safetensors", weights(model))
            if kind != "best":
                save_tensors(temporary / "optimizer.safetensors", _moments(model, optimizer))
                _write(temporary / METRICS, metrics)
            _write(temporary / "progress.json", json.dumps(asdict(progress), indent=2) + "\n")
            _write(temporary / MANIFEST, _manifest(progress.step, _sums(temporary)))
            _sync(temporary)
            temporary.rename(target)
            _sync(self.folder)
        for old in self._superseded(kind, keep):
            self._remove(old)

    def to_average(self) -> list[Path]:
        """Evenly spaced checkpoints and the one at the end of the run, oldest first."""
        return sorted(self._all("regular") + self._all("final"), key=_step)

    def best(self) -> list[Path]:
        """The one with the lowest validation loss, weights alone; none before the first validation."""
        return self._all("best")[-1:]

    def newest(self) -> Path | None:
        """The newest checkpoint that can be continued and whose manifest holds; damaged ones are named.

        None where there is none at all. Raises ValueError where every one is damaged: to begin anew is not for us to
        decide.
        """
        every = self._all("regular") + self._all("final") + self._all("interrupted")
        damaged: list[str] = []
        for path in sorted(every, key=_step, reverse=True):
            damage = find_damage(path)
            if damage is None:
                if damaged and local_rank() == 0:
                    print(f"warning: passed over in {self.folder}: {'; '.join(damaged)}", file=sys.stderr)
                return path
            damaged.append(f"{path.name}, for its {damage}")
        if damaged:
            raise InputError(
                f"no checkpoint in {self.folder} is whole ({'; '.join(damaged)}): put one back, or remove that folder "
                "to begin anew"
            )
        return None

    def last_step(self) -> int:
        """The last update that any of them knows, whole or not; 0 where there is none."""
        return max((_step(path) for kind in get_args(Kind) for path in self._all(kind)), default=0)

    def _all(self, kind: Kind) -> list[Path]:
        named = (path for path in self.folder.glob(f"{kind}-*") if re.fullmatch(rf"{kind}-\d+", path.name))
        return sorted(named, key=_step)

    def _superseded(self, kind: Kind, keep: int) -> list[Path]:
        if kind == "best":
            return self._all("best")[:-1]
        passing = sorted(self._all("final") + self._all("interrupted"), key=_step)
        return self._all("regular")[:-keep] + (passing if kind == "regular" else passing[:-1])

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed had begun to write or to remove."""
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover)

    def _remove(self, path: Path) -> None:
        hidden = self.folder / f".{path.name}.tmp"
        path.rename(hidden)  # at once: half a checkpoint would look like a damaged one
        shutil.rmtree(hidden)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint's weights and moments into model and optimizer; returns how far it was."""
    moments = load_file(str(path / "optimizer.safetensors"))
    put_weights(model, load_file(str(path / "model.safetensors")))
    of_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in moments.items():
        name, moment = key.rsplit(".", 1)
        of_name.setdefault(name, {})[moment] = tensor
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {k: tensor.to(parameter.device) for k, tensor in of_name[name].items()}
    return Progress(**json.loads((path / "progress.json").read_text()))


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None when every file is as it was written."""
    try:
        text = (path / MANIFEST).read_text()
        manifest = json.loads(text)
        if text != _manifest(manifest["step"], manifest["files"]):
            return f"{MANIFEST} is not what was written"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is not what was written"
    if manifest["step"] != _step(path):
        return f"{MANIFEST} is that of update {manifest['step']}"
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _sha256(path / name) != digest:
            return f"{name} is not what was written"
    return None


def _manifest(step: int, sums: dict[str, str]) -> str:
    """JSON that says which update this is, the SHA-256 of every file, and its own."""
    sealed = {"step": step, "files": sums}
    seal = hashlib.sha256(json.dumps(sealed).encode()).hexdigest()
    return json.dumps(sealed | {"seal": seal}, indent=2) + "\n"


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, tensor in optimizer.state[parameter].items()
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir())}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
