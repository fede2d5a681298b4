"""An update whose loss or gradient is not finite: all that is needed to understand it and to make it again.

`runs/x/incidents/update-00000007/` holds

- `incident.json`: loss, gradient norms by module, and which rows of the training data which slice held, with its seed
- `sentences.jsonl`: the text of those rows
- `interrupted-00000006/`: weights and moments before the update, a checkpoint like any other
- `config.yaml`: the run's settings

`python -m train.replay <that folder>` makes the update again.
"""

import hashlib
import json
import math
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import InputError
from common.files import write_text
from common.settings import dump_settings, flatten_settings
from data_pipeline.micro_batches import MicroBatch, Update
from train.config import MAY_CHANGE, RunConfig
from train.run.checkpoints import Checkpoints, RunState
from train.tasks import Task
from train.trainer import Outcome, Updater

MOST = 3
"""Incidents that a run keeps, for each takes the space of a checkpoint; later ones are only logged."""
INCIDENTS = "incidents"
"""Their folder in that of a run."""
REPORT = "incident.json"


def dump(
    run_dir: Path,
    task: Task,
    update: Update,
    ranks: list[list[MicroBatch]],
    outcome: Outcome,
    updater: Updater,
    state: RunState,
) -> Path | None:
    """Write the folder of an incident; `ranks` are the micro-batches of each rank. The model still holds the gradients.

    Returns the folder. The same incident that is there already, as in a run that went back to a checkpoint, is left
    as it is; None, and nothing is written, where there are `MOST` of them. Raises OSError where the disk is full.
    """
    folder = run_dir / INCIDENTS / f"update-{update.step + 1:08d}"
    identity = _identity(task)
    if _is_there(folder, identity):
        return folder
    if sum(1 for other in folder.parent.glob(f"*/{REPORT}") if other.parent != folder) >= MOST:
        return None
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run in this place, or unfinished
    folder.mkdir(parents=True)
    write_text(folder / "config.yaml", dump_settings(task.config))
    lines = (
        json.dumps(line, ensure_ascii=False) + "\n"
        for micro_batches in ranks
        for micro_batch in micro_batches
        for line in sentences(task, micro_batch)
    )
    write_text(folder / "sentences.jsonl", "".join(lines))
    Checkpoints(folder).save("interrupted", updater.model, updater.optimizer, state, metrics="", keep=1)
    report = {
        "step": update.step + 1,
        "loss": as_json(outcome.loss),
        "gradient_norm": as_json(outcome.gradient_norm),
        "lr": outcome.lr,
        "replay": f"python -m train.replay {shlex.quote(str(folder))}",
        "target_tokens": update.predicted_tokens,
        "ranks": len(ranks),
        **identity,
        "gradient_norms": {name: as_json(norm) for name, norm in module_norms(updater.model).items()},
        "slices": [
            _describe(rank, micro_batch) for rank, micro_batches in enumerate(ranks) for micro_batch in micro_batches
        ],
    }
    write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")  # last: with it the folder is complete
    return folder


def micro_batches_of(report: dict[str, Any]) -> list[MicroBatch]:
    """The micro-batches that an `incident.json` describes."""
    return [
        MicroBatch(np.array(entry["rows"]), src_len, tgt_len, entry["seed"], entry["brick"], entry["slice"])
        for entry in report["slices"]
        for src_len, tgt_len in (entry["shape"],)
    ]


def check_identity(report: dict[str, Any], task: Task) -> None:
    """Raises ValueError where the data are no longer those of the incident."""
    for name, value in _identity(task).items():
        if report[name] != value:
            raise InputError(
                f"the incident is of other data or settings: its {name} is {report[name]}, and now it is {value}; put "
                "the files that data.train and data.valid name back as they were"
            )


def config_fingerprint(config: RunConfig) -> str:
    """Equal for two configs whose updates are equal, as far as a config decides them."""
    flat = flatten_settings(config)
    kept = {k: v for k, v in flat.items() if k not in MAY_CHANGE and not k.startswith("decode.")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def sentences(task: Task, micro_batch: MicroBatch) -> Iterator[dict[str, Any]]:
    """The text of a micro-batch, as the model's vocabulary gives it back."""
    for index, text in task.prepared.train.texts(micro_batch, task.tokenizer.decode_text):
        yield {"row": index, **text}


def module_norms(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each module's own parameters, in the model's order."""
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            groups.setdefault(name.rpartition(".")[0], []).append(parameter.grad)
    norms = [torch.nn.utils.get_total_norm(gradients) for gradients in groups.values()]
    return dict(zip(groups, torch.stack(norms).tolist(), strict=True)) if norms else {}


def as_json(value: float) -> float | str:
    """JSON has no number that is not finite."""
    return value if math.isfinite(value) else str(value)


def _identity(task: Task) -> dict[str, Any]:
    return {
        "config_fingerprint": config_fingerprint(task.config),
        "data_fingerprint": task.prepared.fingerprint,
        "plan_version": task.plan_version,
    }


def _is_there(folder: Path, identity: dict[str, Any]) -> bool:
    path = folder / REPORT
    if not path.exists():
        return False
    report = json.loads(path.read_text(encoding="utf-8"))
    return all(report[name] == value for name, value in identity.items())


def _describe(rank: int, micro_batch: MicroBatch) -> dict[str, Any]:
    return {
        "rank": rank,
        "brick": micro_batch.bucket_batch,
        "slice": micro_batch.number,
        "seed": micro_batch.dropout_seed,
        "shape": [micro_batch.src_len, micro_batch.tgt_len],
        "rows": micro_batch.indices.tolist(),
    }
