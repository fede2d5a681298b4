"""Checksums of a folder in a cache. They are written with its files and compared when the folder is opened.

Every byte of many GB takes long to compare. So above `WHOLE` bytes, opening compares the size of each file and a
sample of its bytes, unless the caller wants every byte.
"""

import hashlib
import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from common.files import read_json, sha256

CHECKSUMS = "checksums.json"
WHOLE = 4 << 30
"""Size of a folder in bytes, up to which opening it compares every byte."""
SAMPLES = 64
SAMPLE_BYTES = 1 << 18
"""A sample of a file is this many bytes at each of `SAMPLES` evenly spaced positions, its start and end included."""


def write_checksums(folder: Path) -> None:
    """Write `checksums.json`: size, SHA-256 and SHA-256 of a sample, of each file in the folder."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file), "sample": sample_sha256(file)}
        for file in sorted(folder.iterdir())
    }
    (folder / CHECKSUMS).write_text(_sealed(files), encoding="utf-8")


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder without damage, by name."""
    return {name: known["sha256"] for name, known in read_json(folder / CHECKSUMS)["files"].items()}


def find_damage(folder: Path, every_byte: bool = False) -> str | None:
    """Compare the files of a folder with its checksums. Return the first difference, or None if there is none.

    Args:
        every_byte: compare every byte, also of a folder with more than `WHOLE` bytes.
    """
    if not (folder / CHECKSUMS).is_file():
        return f"{CHECKSUMS} is missing, which older versions did not write"
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8")
        files: dict[str, Any] = json.loads(text)["files"]
        if text != _sealed(files):
            return f"{CHECKSUMS} was changed"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{CHECKSUMS} was changed"
    every_byte |= sum(known["bytes"] for known in files.values()) <= WHOLE
    damages = (_find_file_damage(folder / name, known, every_byte) for name, known in files.items())
    return next((damage for damage in damages if damage is not None), None)


def is_whole(folder: Path, every_byte: bool = False) -> bool:
    """Return True if there is a folder without damage."""
    return folder.is_dir() and find_damage(folder, every_byte) is None


def remove_damaged(folder: Path, every_byte: bool = False, temporary_prefix: str = ".") -> None:
    """Remove a damaged folder, with a warning that names the damage. Do nothing if the folder does not exist.

    The caller has a lock, and creates the folder again.
    """
    if not os.path.lexists(folder):
        return
    damage = find_damage(folder, every_byte) if folder.is_dir() else "it is not a folder"
    print(f"warning: {folder} in the cache is damaged ({damage}). It is created again.", file=sys.stderr, flush=True)
    aside = folder.with_name(f"{temporary_prefix}{folder.name}-damaged-{uuid.uuid4().hex[:8]}")
    folder.rename(aside)  # first, so that no other process opens a half removed folder
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def sample_sha256(file: Path) -> str:
    """Return the SHA-256 of a sample of a file: of all bytes if the file is small."""
    size = file.stat().st_size
    if size <= SAMPLES * SAMPLE_BYTES:
        return sha256(file)
    digest = hashlib.sha256()
    with file.open("rb") as raw:
        for i in range(SAMPLES):
            raw.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
            digest.update(raw.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _find_file_damage(file: Path, known: dict[str, Any], every_byte: bool) -> str | None:
    if not file.is_file():
        return f"{file.name} is missing"
    if (size := file.stat().st_size) != known["bytes"]:
        return f"{file.name} has {size:,} bytes instead of {known['bytes']:,}"
    if (sha256(file) != known["sha256"]) if every_byte else (sample_sha256(file) != known["sample"]):
        return f"the bytes of {file.name} were changed"
    return None


def _sealed(files: dict[str, Any]) -> str:
    """Return the text of `checksums.json`: the files, and at the end the checksum of that list."""
    seal = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"files": files, "seal": seal}, indent=1) + "\n"
