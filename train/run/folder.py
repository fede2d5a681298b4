"""The run folder: its settings, and whether a run may resume with other settings or data."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, reject_links, write_text
from common.processes import local_rank
from common.settings import dump_settings, flatten_settings, load_saved_settings
from data_pipeline.tokenizers import TextTokenizer
from train.config import MAY_CHANGE, RunConfig
from train.run.checkpoints import Checkpoints
from train.run.identity import Identity, find_changed_files, has_same_data, is_identity
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
    "samples.jsonl",
    "data_report.json",
    "report.html",
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

PLACES = (
    "data.train",
    "data.valid",
    "data.source_column",
    "data.target_column",
    "data.text_column",
    "data.prompt_column",
)
"""Settings that say where the text is. They may differ when a run resumes on equal prepared data."""


def reject_links_in_run(run_dir: Path) -> None:
    """Raise InputError if a part of a run folder is a symbolic link: the run may be from somebody else.

    Raises InputError too if the path is a file.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a folder. Name another run_dir")
    reject_links(run_dir, OWN)


def check_settings(run_dir: Path, config: RunConfig, identity: Identity) -> None:
    """Check that the run in this folder can resume with these settings and data.

    A folder without checkpoints accepts anything. Settings that change no update (`MAY_CHANGE`) may differ. Settings
    and files that say where the text is (`PLACES`) may differ if the prepared data are equal; then a note names them.

    Args:
        identity: what the updates depend on besides the settings; see `describe_identity`.

    Raises InputError that lists every difference.
    """
    if not has_begun(run_dir):
        return
    before, settings = _read_identity(run_dir), _changed_settings(run_dir, config)
    files = find_changed_files(before, identity)
    contents = list(chain(*files.values()))
    if not has_same_data(before, identity):
        how = "on different data" if contents else "with different settings"
        _reject(run_dir, how, [change for name, change in settings.items() if name not in files] + contents)
        raise InputError(f"{run_dir} contains a run on different data: {_unknown_change(run_dir, before, identity)}")
    _reject(run_dir, "with different settings", [change for name, change in settings.items() if name not in PLACES])
    _check_plan(run_dir, before, identity)
    if (notes := [*settings.values(), *contents]) and local_rank() == 0:
        print(f"note: {'; '.join(notes)}. The prepared data are the same, so the run resumes", file=sys.stderr)


def _reject(run_dir: Path, how: str, changes: list[str]) -> None:
    """Raise InputError if there are changes."""
    if changes:
        raise InputError(
            f"{run_dir} contains a run {how}: {'; '.join(changes)}. "
            "Use the old settings and data to resume it, or choose another run_dir"
        )


def _read_identity(run_dir: Path) -> Identity:
    for name in ("config.yaml", "identity.json"):
        if not (run_dir / name).is_file() or not (run_dir / name).stat().st_size:
            raise InputError(f"{run_dir / name} is missing or empty, so the run cannot resume. Restore it from a copy")
    identity = read_json(run_dir / "identity.json")
    if not is_identity(identity):
        raise InputError(f"{run_dir / 'identity.json'} is damaged, so the run cannot resume. Restore it from a copy")
    return dict(identity)


def _changed_settings(run_dir: Path, config: RunConfig) -> dict[str, str]:
    """Return the settings that differ from those of the run and may change updates: a sentence for each name."""
    old, new = flatten_settings(load_saved_settings(RunConfig, run_dir / "config.yaml")), flatten_settings(config)
    free = {*MAY_CHANGE}
    if old["schedule.name"] == new["schedule.name"] == "wsd" and _before_decay(run_dir, old, new):
        free.add("schedule.decay_steps")
    return {
        name: f"{name} was {old[name]} and is {new[name]}"
        for name in new
        if old[name] != new[name] and name not in free and not name.startswith("decode.")
    }


def _unknown_change(run_dir: Path, before: Identity, now: Identity) -> str:
    """Return what may have changed if settings and known files are equal."""
    if "files" not in before and before.get("data") != now["data"]:
        return (
            "the files of data.train or data.valid have changed, or another version of paper-transformer prepared "
            "them. Restore the files, use the old version, or choose another run_dir"
        )
    old, new = before.get("prepared", {}), now["prepared"]
    differing = ", ".join(name for name in sorted(old | new) if old.get(name) != new.get(name))
    return (
        f"the same settings gave other prepared data ({differing}), with another version of paper-transformer, of "
        f"SentencePiece or of a dataset on the Hub. Set data.tokenizer={run_dir / 'tokenizer.model'}, use the old "
        "version, or choose another run_dir"
    )


def _check_plan(run_dir: Path, before: Identity, now: Identity) -> None:
    if before.get("plan") != now["plan"]:
        raise InputError(
            f"{run_dir} contains a run with another batch plan (plan version {before.get('plan')}; this version of "
            f"paper-transformer has {now['plan']}). Resume it with the version that started it, or choose "
            "another run_dir"
        )


def _before_decay(run_dir: Path, *settings: dict[str, Any]) -> bool:
    """Return True if no update so far used the decay phase, so that the end of the schedule can still move."""
    done = Checkpoints(run_dir / "checkpoints").last_step()
    return all(done <= last_level_step(flat["schedule.decay_steps"], flat["schedule.decay_share"]) for flat in settings)


def write_settings(run_dir: Path, config: RunConfig, identity: Identity, tokenizer: TextTokenizer) -> None:
    """Write `config.yaml`, `identity.json` (see `check_settings`) and the tokenizer."""
    write_text(run_dir / "config.yaml", dump_settings(config))
    write_text(run_dir / "identity.json", json.dumps(identity, indent=2) + "\n")
    tokenizer.save(run_dir)


def has_begun(run_dir: Path) -> bool:
    """Return True if the run folder has a checkpoint."""
    return any((run_dir / "checkpoints").glob("[!.]*"))
