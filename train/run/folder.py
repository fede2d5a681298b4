"""The folder of a run: one writer, one config, and metrics that never repeat or miss a line.

`metrics.jsonl` holds what a repeated run gives again; `timing.jsonl` what depends on the machine and the hour.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common.errors import InputError
from common.settings import dump_settings, flatten_settings, load_settings
from data_pipeline.tokenizers import TextTokenizer
from train.config import MAY_CHANGE, RunConfig
from train.run.checkpoints import Checkpoints
from train.schedule import last_level_step

PATIENCE = 60
"""Seconds that a second start waits for the first: after Ctrl-C a run is still saving."""


@contextmanager
def exclusive(path: Path, patience: float) -> Iterator[None]:
    """Hold a lock file; it is free again when the process ends, however it ends.

    Raises ValueError when another process still holds it after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with path.open("a") as file:
        said = False
        while not _locked(file):
            if time.monotonic() > until:
                raise InputError(
                    f"another process is working in {path.parent}: wait until it ends, or use another folder"
                )
            if not said:
                print(f"waiting for another process that is working in {path.parent}", file=sys.stderr, flush=True)
                said = True
            time.sleep(0.2)
        yield


def check_settings(run_dir: Path, config: RunConfig, identity: dict[str, Any]) -> None:
    """Accept what the run in this folder may be continued with; a folder without checkpoints takes anything.

    `identity` is what the updates depend on beside the config: the data's fingerprint and the plan's version.
    Raises ValueError that lists every difference.
    """
    if not has_begun(run_dir):
        return
    for name in ("config.yaml", "identity.json"):
        if not (run_dir / name).is_file() or not (run_dir / name).stat().st_size:
            raise InputError(f"{run_dir / name} is missing or empty, so the run there cannot be continued: put it back")
    old, new = flatten_settings(load_settings(RunConfig, run_dir / "config.yaml")), flatten_settings(config)
    free = {*MAY_CHANGE}
    if old["train.schedule"] == new["train.schedule"] == "wsd" and _still_level(run_dir, old, new):
        free.add("train.decay_steps")
    changed = [
        f"{name} was {old[name]} and is {new[name]}"
        for name in new
        if old[name] != new[name] and name not in free and not name.startswith("decode.")
    ]
    if changed:
        raise InputError(
            f"{run_dir} holds a run with other settings: {'; '.join(changed)}; "
            "continue it with its own settings, or name another run_dir"
        )
    try:
        before = json.loads((run_dir / "identity.json").read_text())
    except ValueError as error:
        raise InputError(f"{run_dir / 'identity.json'} is damaged, put it back: {error}") from error
    if before.get("data") != identity["data"]:
        raise InputError(
            f"{run_dir} holds a run on other data: the files that data.train or data.valid name are not what they "
            "were; put them back, or name another run_dir"
        )
    if before != identity:
        raise InputError(
            f"{run_dir} holds a run whose updates were planned otherwise (plan version {before.get('plan')}, and "
            f"{identity['plan']} now): continue it with the version of this software that began it, or name another "
            "run_dir"
        )


def _still_level(run_dir: Path, *settings: dict[str, Any]) -> bool:
    """Whether the rate of no update that was made, of those that any checkpoint knows, depends on where it ends."""
    made = Checkpoints(run_dir / "checkpoints").last_step()
    return all(made <= last_level_step(one["train.decay_steps"], one["train.decay_share"]) for one in settings)


def write_settings(run_dir: Path, config: RunConfig, identity: dict[str, Any], tokenizer: TextTokenizer) -> None:
    """Write `config.yaml`, what the updates depend on beside it, and the vocabulary."""
    write_whole(run_dir / "config.yaml", dump_settings(config))
    write_whole(run_dir / "identity.json", json.dumps(identity, indent=2) + "\n")
    tokenizer.save(run_dir)


def has_begun(run_dir: Path) -> bool:
    """True where there is a checkpoint that other settings would spoil."""
    return any((run_dir / "checkpoints").glob("[!.]*"))


def write_whole(path: Path, text: str) -> None:
    """Replace a file by `text`; a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
