"""The run that faults.py and damage.py interrupt and damage, and the comparison of run folders."""

import json
import logging
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from data_pipeline.builtin.grammar import GrammarSplit, generate

STEPS = 37
"""Number of updates. Not a multiple of checkpoints.every, so the last checkpoint is of the kind `final`."""
SETTINGS = (
    *("data.train=[../train.en,../train.de]", "data.valid=[../valid.en,../valid.de]", "data.test=null"),
    *("data.vocab_size=400", "data.max_length=64", "data.cache_dir=../cache", "run_dir=run"),
    *("model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "model.dropout=0.1"),
    *("batches.tokens_per_update=1024", "batches.per_update=2", "schedule.warmup_steps=30", f"train.max_steps={STEPS}"),
    *("train.log_every=1", "validation.every=5", "validation.bleu_sentences=2", "train.log_with=tensorboard"),
    *("checkpoints.every=3", "checkpoints.keep=3", "checkpoints.average_last=2", "train.threads=1"),
)
"""Paths are relative to the working directory of the command, so runs in different folders have equal files."""
NOT_COMPARED = ("timing.jsonl", "tensorboard", "report.html", ".lock")
"""Files with times and names of machines. Of the first two, updates and values are compared."""


def write_corpus(folder: Path) -> None:
    """Write a few hundred pairs of the built-in corpus as text files."""
    splits: tuple[tuple[GrammarSplit, int], ...] = (("train", 400), ("valid", 40))
    for split, count in splits:
        sources, targets = zip(*generate(split, count, seed=1), strict=True)
        (folder / f"{split}.en").write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
        (folder / f"{split}.de").write_text("".join(f"{line}\n" for line in targets), encoding="utf-8")


def differences(run: Path, reference: Path) -> list[str]:
    """Return every file that is not byte-identical in the reference run, and differences in TensorBoard."""
    files, expected = _files(run), _files(reference)
    found = [f"{name} is missing" for name in sorted(expected - files)]
    found += [f"{name} is left over" for name in sorted(files - expected)]
    for name in sorted(files & expected):
        if (run / name).read_bytes() != (reference / name).read_bytes():
            found.append(f"{name} differs")
    if _timed_steps(run) != _timed_steps(reference):
        found.append("timing.jsonl has other updates")
    return found + tensorboard_differences(run)


def tensorboard_differences(run: Path) -> list[str]:
    """Return the names under which TensorBoard does not show each number of the logs exactly once."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it reports every restart that it finds
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    wanted: dict[str, list[tuple[int, float]]] = {}
    logs = (run / name for name in ("metrics.jsonl", "timing.jsonl"))
    for line in (json.loads(line) for log in logs for line in log.read_text().splitlines()):
        for tag in line.keys() - {"step", "time"}:
            wanted.setdefault(tag, []).append((line["step"], float(np.float32(line[tag]))))
    different = [tag for tag in wanted | shown if shown.get(tag) != wanted.get(tag)]
    return [f"TensorBoard's {tag} is not that of the logs" for tag in different]


def _files(run: Path) -> set[str]:
    paths = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] not in NOT_COMPARED}


def _timed_steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "timing.jsonl").read_text().splitlines()]
