"""The run folder: its settings, and whether a run may resume with other settings or data."""

import json
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, reject_links, write_text
from common.settings import dump_settings, flatten_settings, load_saved_settings
from data_pipeline.tokenizers import TextTokenizer
from train.config import MAY_CHANGE, RunConfig
from train.run.checkpoints import Checkpoints
from train.schedule import last_level_step

OWN = (
    "config.yaml",
    "identity.json",
    "tokenizer.model",
    "README.md",
    "config.json",
    "model.safetensors",
    "metrics.jsonl",
    "timing.jsonl",
    "paper_comparison.md",
    "failed_update.json",
    "examples.jsonl",
    "checkpoints",
    "failed_updates",
    "tensorboard",
    "eval",
    ".lock",
)
"""Files and folders of a run folder or of the folder of a failed update."""


def reject_links_in_run(run_dir: Path) -> None:
    """Raise InputError if a part of a run folder is a symbolic link: the run may be from somebody else."""
    reject_links(run_dir, OWN)


def check_settings(run_dir: Path, config: RunConfig, identity: dict[str, Any]) -> None:
    """Check that the run in this folder can resume with these settings and data.

    A folder without checkpoints accepts anything. Settings that change no update (`MAY_CHANGE`) may differ.

    Args:
        identity: what the updates depend on besides the settings: fingerprint of the data, version of the batch plan.

    Raises InputError that lists every difference.
    """
    if not has_begun(run_dir):
        return
    for name in ("config.yaml", "identity.json"):
        if not (run_dir / name).is_file() or not (run_dir / name).stat().st_size:
            raise InputError(f"{run_dir / name} is missing or empty, so the run cannot resume. Restore it from a copy")
    _check_config(run_dir, config)
    before = read_json(run_dir / "identity.json")
    if before.get("data") != identity["data"]:
        raise InputError(
            f"{run_dir} contains a run on different data: the files of data.train or data.valid have changed. "
            "Restore them, or choose another run_dir"
        )
    if before != identity:
        raise InputError(
            f"{run_dir} contains a run with another batch plan (plan version {before.get('plan')}; this version of "
            f"paper-transformer has {identity['plan']}). Resume it with the version that started it, or choose "
            "another run_dir"
        )


def _check_config(run_dir: Path, config: RunConfig) -> None:
    old, new = flatten_settings(load_saved_settings(RunConfig, run_dir / "config.yaml")), flatten_settings(config)
    free = {*MAY_CHANGE}
    if old["schedule.name"] == new["schedule.name"] == "wsd" and _before_decay(run_dir, old, new):
        free.add("schedule.decay_steps")
    changed = [
        f"{name} was {old[name]} and is {new[name]}"
        for name in new
        if old[name] != new[name] and name not in free and not name.startswith("decode.")
    ]
    if changed:
        raise InputError(
            f"{run_dir} contains a run with different settings: {'; '.join(changed)}. "
            "Use the old settings to resume it, or choose another run_dir"
        )


def _before_decay(run_dir: Path, *settings: dict[str, Any]) -> bool:
    """Return True if no update so far used the decay phase, so that the end of the schedule can still move."""
    done = Checkpoints(run_dir / "checkpoints").last_step()
    return all(done <= last_level_step(flat["schedule.decay_steps"], flat["schedule.decay_share"]) for flat in settings)


def write_settings(run_dir: Path, config: RunConfig, identity: dict[str, Any], tokenizer: TextTokenizer) -> None:
    """Write `config.yaml`, `identity.json` (see `check_settings`) and the tokenizer."""
    write_text(run_dir / "config.yaml", dump_settings(config))
    write_text(run_dir / "identity.json", json.dumps(identity, indent=2) + "\n")
    tokenizer.save(run_dir)


def has_begun(run_dir: Path) -> bool:
    """Return True if the run folder has a checkpoint."""
    return any((run_dir / "checkpoints").glob("[!.]*"))
