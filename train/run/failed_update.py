"""Failed updates: an update with a non-finite loss or gradient is skipped and saved for debugging.

`runs/x/failed_updates/update-00000007/` contains

- `failed_update.json`: loss, gradient norm of each module, and the examples and dropout seed of each micro-batch
- `examples.jsonl`: the text of these examples
- `interrupted-00000006/`: a checkpoint from before the update
- `config.yaml`: the settings of the run

`python -m train.replay <that folder>` computes the update again.
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
from common.files import read_json, write_text
from common.settings import dump_settings, flatten_settings
from data_pipeline.micro_batches import MicroBatch, Update
from train.config import MAY_CHANGE, RunConfig
from train.run.checkpoints import Checkpoints, RunState
from train.setup import Setup
from train.trainer import StepResult, Trainer

MOST = 3
"""Failed updates that a run saves; each needs as much space as a checkpoint. Others are only logged."""
FAILED_UPDATES = "failed_updates"
"""Name of their folder in the run folder."""
REPORT = "failed_update.json"
OLD_REPORT = "incident.json"
"""The report of older versions. Its fingerprint is that of settings with other names."""


def save_failed_update(
    run_dir: Path,
    setup: Setup,
    update: Update,
    ranks: list[list[MicroBatch]],
    result: StepResult,
    trainer: Trainer,
    state: RunState,
) -> Path | None:
    """Save a failed update while the model still has its gradients. Return the folder.

    If the folder has the same failed update already, because the run went back to a checkpoint, it stays unchanged.
    Return None and write nothing if the run has `MOST` others. Raises OSError if the disk is full.

    Args:
        ranks: the micro-batches of each rank.
        state: the run state before the update.
    """
    folder = run_dir / FAILED_UPDATES / f"update-{update.step + 1:08d}"
    identity = _identity(setup)
    if _is_saved(folder, identity):
        return folder
    if sum(1 for other in folder.parent.glob(f"*/{REPORT}") if other.parent != folder) >= MOST:
        return None
    shutil.rmtree(folder, ignore_errors=True)  # incomplete, or of an earlier run in this run folder
    folder.mkdir(parents=True)
    write_text(folder / "config.yaml", dump_settings(setup.config))
    texts = (text for micro_batches in ranks for micro_batch in micro_batches for text in examples(setup, micro_batch))
    write_text(folder / "examples.jsonl", "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    Checkpoints(folder).save("interrupted", trainer.model, trainer.optimizer, state, metrics="", keep=1)
    report = {
        "step": update.step + 1,
        "loss": as_json(result.loss),
        "gradient_norm": as_json(result.gradient_norm),
        "lr": result.lr,
        "replay": f"python -m train.replay {shlex.quote(str(folder))}",
        "predicted_tokens": update.predicted_tokens,
        "ranks": len(ranks),
        **identity,
        "gradient_norms": {name: as_json(norm) for name, norm in module_norms(trainer.model).items()},
        "micro_batches": [_describe(rank, batch) for rank, batches in enumerate(ranks) for batch in batches],
    }
    write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")  # the last file: with it, the folder is complete
    return folder


def read_report(folder: Path) -> dict[str, Any]:
    """Return `failed_update.json`.

    Raises FileNotFoundError if the folder has none, and InputError if an older version wrote it or it is damaged.
    """
    if (folder / OLD_REPORT).is_file():
        raise InputError(
            f"{folder} was written by an older version of paper-transformer (it has {OLD_REPORT} instead of {REPORT}). "
            "Replay it with that version"
        )
    if not (folder / REPORT).is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a failed update: it has no {REPORT}")
    report = read_json(folder / REPORT)
    if not _is_report(report):
        raise InputError(f"{folder / REPORT} is damaged: it is no report of a failed update. Restore it from a copy")
    return dict(report)


def _is_report(report: Any) -> bool:
    """Return True if a report has all values that `save_failed_update` writes, of the right types."""
    types = {"step": int, "predicted_tokens": int, "gradient_norms": dict, "micro_batches": list}
    if not isinstance(report, dict) or {"loss", "gradient_norm"} - report.keys():
        return False
    if not all(isinstance(report.get(name), kind) for name, kind in types.items()):
        return False
    numbers = ("src_len", "tgt_len", "dropout_seed", "bucket_batch", "number")
    return all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), int) for name in numbers)
        and isinstance(entry.get("indices"), list)
        and all(isinstance(index, int) for index in entry["indices"])
        and _is_draw(entry.get("draw"))
        for entry in report["micro_batches"]
    )


def _is_draw(value: Any) -> bool:
    """Return True for seed and epoch of sampled subwords, or None."""
    return value is None or (isinstance(value, list) and [type(part) for part in value] == [int, int])


def read_micro_batches(report: dict[str, Any]) -> list[MicroBatch]:
    """Return the micro-batches of all ranks."""
    return [
        MicroBatch(
            np.array(entry["indices"]),
            entry["src_len"],
            entry["tgt_len"],
            entry["dropout_seed"],
            entry["bucket_batch"],
            entry["number"],
            tuple(entry["draw"]) if entry.get("draw") else None,
        )
        for entry in report["micro_batches"]
    ]


def check_identity(report: dict[str, Any], setup: Setup) -> None:
    """Raise InputError if the data or the settings have changed since the failed update."""
    for name, value in _identity(setup).items():
        if (saved := report.get(name)) != value:
            raise InputError(
                f"the failed update has other data or settings: its {name} is {saved}, but now it is {value}. "
                "Restore the files of data.train and data.valid"
            )


def config_fingerprint(config: RunConfig) -> str:
    """Return a hash of the settings that decide the updates."""
    flat = flatten_settings(config)
    kept = {k: v for k, v in flat.items() if k not in MAY_CHANGE and not k.startswith("decode.")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def examples(setup: Setup, micro_batch: MicroBatch) -> Iterator[dict[str, Any]]:
    """Yield index and text of each example of a micro-batch, decoded with the vocabulary of the model."""
    for index, text in setup.prepared.train.texts(micro_batch, setup.tokenizer.decode_text):
        yield {"index": index, **text}


def module_norms(model: nn.Module) -> dict[str, float]:
    """Return the gradient norm of each module's own parameters, in the order of the model."""
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            groups.setdefault(name.rpartition(".")[0], []).append(parameter.grad)
    norms = [torch.nn.utils.get_total_norm(gradients) for gradients in groups.values()]
    return dict(zip(groups, torch.stack(norms).tolist(), strict=True)) if norms else {}


def as_json(value: float) -> float | str:
    """Return the value, or its name if it is not finite, because JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else str(value)


def _identity(setup: Setup) -> dict[str, Any]:
    return {
        "config_fingerprint": config_fingerprint(setup.config),
        "data_fingerprint": setup.prepared.fingerprint,
        "plan_version": setup.plan_version,
    }


def _is_saved(folder: Path, identity: dict[str, Any]) -> bool:
    if not (folder / REPORT).is_file():
        return False
    report = read_json(folder / REPORT)
    return all(report[name] == value for name, value in identity.items())


def _describe(rank: int, micro_batch: MicroBatch) -> dict[str, Any]:
    return {
        "rank": rank,
        "bucket_batch": micro_batch.bucket_batch,
        "number": micro_batch.number,
        "dropout_seed": micro_batch.dropout_seed,
        "src_len": micro_batch.src_len,
        "tgt_len": micro_batch.tgt_len,
        "indices": micro_batch.indices.tolist(),
        "draw": micro_batch.draw,
    }
