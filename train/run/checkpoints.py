"""Checkpoints: the training state on disk, as safetensors and JSON. It does not depend on the number of devices.

A checkpoint is written to a temporary folder, flushed to disk, completed by a manifest of SHA-256 checksums, and
renamed. So other processes see the complete checkpoint or none. A checkpoint that does not match its manifest is
reported and ignored.
"""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from common.errors import InputError, first_line
from common.files import create_folder, read_json, read_small, sha256
from common.processes import local_rank
from train.weight_mean import MEAN
from transformer.weights import get_weights, load_tensors, save_tensors, set_weights

Kind = Literal["regular", "final", "interrupted", "best"]
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class RunState:
    """What a checkpoint contains besides weights and optimizer state: its `progress.json`."""

    step: int
    """Number of updates done, including skipped ones."""
    best_step: int | None = None
    """Update after which the validation loss was lowest so far."""
    best_loss: float | None = None
    """Lowest validation loss so far, in nats per predicted token."""
    scaler: dict[str, Any] | None = None
    """State of the loss scaler of fp16; None in other precisions."""
    nonfinite_updates: int = 0
    """Number of consecutive non-finite updates up to this step."""


class Checkpoints:
    """The checkpoints of a run, in its folder `checkpoints/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        kind: Kind,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: RunState,
        metrics: str,
        keep: int,
    ) -> None:
        """Write one checkpoint and remove those that are no longer needed.

        Args:
            kind: `regular` checkpoints are evenly spaced. A `final` one is written at the end of the run if no regular
                one is. An `interrupted` one is for resuming only. `best` has weights only.
            metrics: all lines of `metrics.jsonl` so far. A resumed run starts with them.
            keep: number of regular checkpoints to keep. The next regular checkpoint removes final and interrupted ones.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove_unfinished()
        target = self.folder / f"{kind}-{state.step:08d}"
        if target.exists() and find_damage(target):
            self._remove(target)
        if not target.exists():
            with create_folder(target) as temporary:
                save_tensors(temporary / "model.safetensors", get_weights(model))
                if kind != "best":
                    save_tensors(temporary / "optimizer.safetensors", _optimizer_state(model, optimizer))
                    (temporary / METRICS).write_text(metrics, encoding="utf-8")
                (temporary / "progress.json").write_text(json.dumps(asdict(state), indent=2) + "\n")
                sums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
                (temporary / MANIFEST).write_text(_manifest(state.step, sums))
        for old in self._superseded(kind, keep):
            self._remove(old)

    def to_average(self) -> list[Path]:
        """Return the regular checkpoints and the one at the end of the run, oldest first."""
        return sorted(self._all("regular") + self._all("final"), key=_step)

    def best(self) -> list[Path]:
        """Return a list with the checkpoint of the lowest validation loss, or an empty list if there is none yet."""
        return self._all("best")[-1:]

    def newest(self) -> Path | None:
        """Return the newest undamaged checkpoint that a run can resume from. Print a warning about damaged ones.

        Return None if there is no checkpoint. Raise InputError if all are damaged: the user must decide whether to
        start again.
        """
        every = self._all("regular") + self._all("final") + self._all("interrupted")
        damaged: list[str] = []
        for path in sorted(every, key=_step, reverse=True):
            damage = find_damage(path)
            if damage is None:
                if damaged and local_rank() == 0:
                    print(
                        f"warning: damaged checkpoints ignored in {self.folder}: {'; '.join(damaged)}", file=sys.stderr
                    )
                return path
            damaged.append(f"{path.name}: {damage}")
        if damaged:
            raise InputError(
                f"all checkpoints in {self.folder} are damaged ({'; '.join(damaged)}). Restore one from a copy, or "
                "delete the folder to train from the start."
            )
        return None

    def last_step(self) -> int:
        """Return the highest update number of all checkpoints, including damaged ones; 0 if there is none."""
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
        """Remove the temporary folders that a killed process left."""
        for leftover in self.folder.glob(".*"):
            shutil.rmtree(leftover)

    def _remove(self, path: Path) -> None:
        hidden = self.folder / f".{path.name}.removed"
        path.rename(hidden)  # first, because a partly removed checkpoint would look damaged
        shutil.rmtree(hidden)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> RunState:
    """Load the weights and the optimizer state of a checkpoint. Return its run state.

    Raises InputError if they do not fit the model. The checksums do not exclude that: anybody can compute them.
    """
    set_weights(model, load_tensors(path / "model.safetensors"))
    of_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_tensors(path / "optimizer.safetensors").items():
        name, _, moment = key.rpartition(".")
        of_name.setdefault(name, {})[moment] = tensor
    for name, parameter in model.named_parameters():
        state = of_name.get(name, {})
        if not state or any(t.dim() and t.shape != parameter.shape for t in state.values()):
            raise InputError(f"{path / 'optimizer.safetensors'} does not fit the model at {name}")
        optimizer.state[parameter] = {k: tensor.to(parameter.device) for k, tensor in state.items()}
    return read_state(path)


def load_mean(path: Path) -> dict[str, Tensor]:
    """Return the exponential mean of the weights in a checkpoint, which the optimizer state contains."""
    state = load_tensors(path / "optimizer.safetensors")
    return {key.removesuffix(f".{MEAN}"): tensor for key, tensor in state.items() if key.endswith(f".{MEAN}")}


def read_state(path: Path) -> RunState:
    """Return the run state of a checkpoint. Raises InputError if it is not what a run writes."""
    values = read_json(path / "progress.json")
    if isinstance(values, dict) and "bad_updates" in values:  # the name in older checkpoints
        values["nonfinite_updates"] = values.pop("bad_updates")
    try:
        state = RunState(**values)
    except TypeError as error:
        raise InputError(f"{path / 'progress.json'} is not the state of a run: {first_line(error)}") from error
    if state.step != _step(path) or type(state.nonfinite_updates) is not int:
        raise InputError(f"{path / 'progress.json'} is not the state of a run after update {_step(path)}")
    return state


def find_damage(path: Path) -> str | None:
    """Compare a checkpoint with its manifest. Return the first difference, or None if every file is unchanged."""
    if not (path / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    try:
        text = read_small(path / MANIFEST).decode()
        manifest = json.loads(text)
        if text != _manifest(manifest["step"], manifest["files"]):
            return f"{MANIFEST} was changed after it was written"
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{MANIFEST} was changed after it was written"
    if manifest["step"] != _step(path):
        return f"{MANIFEST} belongs to update {manifest['step']}"
    if missing := {"model.safetensors", "progress.json"} - files.keys():
        return f"{MANIFEST} does not list {min(missing)}"
    for name, digest in files.items():
        if Path(name).name != name or not (path / name).is_file():
            return f"{name} is missing"
        if sha256(path / name) != digest:
            return f"{name} was changed after it was written"
    return None


def _manifest(step: int, sums: dict[str, str]) -> str:
    """Return JSON with the update number, the SHA-256 of every file, and the SHA-256 of these two entries."""
    sealed = {"step": step, "files": sums}
    seal = hashlib.sha256(json.dumps(sealed).encode()).hexdigest()
    return json.dumps(sealed | {"seal": seal}, indent=2) + "\n"


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, tensor in optimizer.state[parameter].items()
    }


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
