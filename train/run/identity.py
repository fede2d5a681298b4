"""What a run was trained on besides its settings: `identity.json` in the run folder.

Content decides whether a run may resume, not a path. The updates depend on the prepared data, so a run resumes with
equal prepared data, whatever the corpora are called and wherever they are.
"""

from typing import Any

from data_pipeline.prepared_data import PreparedData

Identity = dict[str, Any]
"""`data`: fingerprint of the data. `plan`: version of the batch plan. `prepared`: SHA-256 of each file of the prepared
data. `files`: the local files that the data come from. Versions before 0.1.0 wrote only the first two."""


def describe_identity(prepared: PreparedData, plan_version: int | list[int]) -> Identity:
    """Return the content of `identity.json`."""
    files = [
        {"setting": file.setting, "file": str(file.path), "bytes": file.bytes, "sha256": file.sha256}
        for file in prepared.source_files
    ]
    return {"data": prepared.fingerprint, "plan": plan_version, "prepared": prepared.checksums, "files": files}


def is_identity(value: Any) -> bool:
    """Return True if a value read from `identity.json` has the right form."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("prepared", {}), dict)
        and isinstance(value.get("files", []), list)
        and all(isinstance(file, dict) and {"setting", "file", "sha256"} <= file.keys() for file in _files(value))
    )


def has_same_data(before: Identity, now: Identity) -> bool:
    """Return True if the prepared data are equal. Runs of older versions are compared by the fingerprint."""
    name = "prepared" if "prepared" in before else "data"
    return bool(before.get(name) == now.get(name))


def find_changed_files(before: Identity, now: Identity) -> dict[str, list[str]]:
    """Return what differs in the content of local files, by setting: an empty list if only paths differ.

    Settings that name no local files, before or now, are ignored.
    """
    changes: dict[str, list[str]] = {}
    for setting in ("data.train", "data.valid", "data.tokenizer"):
        old, new = ([file for file in _files(identity) if file["setting"] == setting] for identity in (before, now))
        if old and new:
            changes[setting] = [f"{setting}: {change}" for change in _compare_files(old, new)]
    return changes


def _compare_files(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
    sums, new_sums = ([file["sha256"] for file in files] for files in (old, new))
    if sums == new_sums:
        return []
    if sorted(sums) == sorted(new_sums):
        return ["the same files in another order"]
    if len(old) == len(new):
        return [
            _describe_change(*both) for both in zip(old, new, strict=True) if both[0]["sha256"] != both[1]["sha256"]
        ]
    added = [f"{file['file']} was added" for file in new if file["sha256"] not in sums]
    return added + [f"{file['file']} was removed" for file in old if file["sha256"] not in new_sums]


def _describe_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    name = f"{new['file']} has other content than "
    name += "before" if old["file"] == new["file"] else f"{old['file']} had"
    sizes = (old.get("bytes"), new.get("bytes"))
    return f"{name} ({sizes[0]} bytes before, {sizes[1]} now)" if sizes[0] != sizes[1] else f"{name} (of equal size)"


def _files(identity: Identity) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = identity.get("files", [])
    return files
