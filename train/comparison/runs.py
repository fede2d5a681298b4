"""Runs that are compared, and their groups: runs of a group differ in the seed only."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.charts import Line, Point
from common.errors import InputError
from common.files import read_json
from common.settings import flatten_settings
from train.config import MAY_CHANGE
from train.run.folder import PLACES, reject_links_in_run
from train.run.identity import Identity, is_identity
from train.run.run_files import RunFiles, read_run
from transformer.model import build, count_parameters

NOT_COMPARED = {"run_dir", "train.seed"}
"""Settings that no table shows."""
SAME_RESULT = NOT_COMPARED | {*MAY_CHANGE} - {"train.max_steps", "train.init_from", "checkpoints.average_last"}
"""Settings that may differ in a group: they do not change the model, except by the seed."""


@dataclass(frozen=True)
class ComparedRun:
    """A run, and how it is called on the page."""

    name: str
    files: RunFiles
    identity: Identity
    """See `train/run/identity.py`; {} if the run folder has none."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings, by name."""
        return flatten_settings(self.files.config)

    @property
    def prepared(self) -> Any:
        """What equals the same entry of another run if both have the same training and validation data."""
        return self.identity.get("prepared") or self.identity.get("data")

    def is_like(self, other: "ComparedRun") -> bool:
        """Return True if both runs differ in the seed only."""
        free = SAME_RESULT | ({*PLACES} if self.prepared is not None and self.prepared == other.prepared else set())
        mine, others = ({k: v for k, v in run.settings.items() if k not in free} for run in (self, other))
        return mine == others and self.prepared == other.prepared

    def log(self, name: str) -> dict[int, float]:
        """Return a value of `metrics.jsonl` or `timing.jsonl` by update."""
        lines = (*self.files.metrics, *self.files.timing)
        return {int(line["step"]): line[name] for line in lines if name in line}

    def minutes(self, steps: Sequence[int]) -> list[float]:
        """Return the minutes that the updates up to each step took, without validation and interruptions."""
        ends, seconds = [0], [0.0]
        for updates, line in self.files.blocks:
            ends.append(ends[-1] + updates)
            seconds.append(seconds[-1] + updates * line["seconds_per_update"])
        return [float(value) / 60 for value in np.interp(steps, ends, seconds)]

    def sample_translations(self) -> dict[tuple[str, str], str]:
        """Return the last sample translations, by source and reference."""
        found = (line.get("translations") for line in reversed(self.files.samples))
        rows = next((rows for rows in found if isinstance(rows, list)), [])
        of_texts = (row for row in rows if isinstance(row, list) and [type(text) for text in row] == [str] * 3)
        return {(source, reference): text for source, reference, text in of_texts}

    def sample_text(self) -> str:
        """Return the last text that a language model generated; "" if there is none."""
        found = (line.get("text") for line in reversed(self.files.samples))
        return next((text for text in found if isinstance(text, str)), "")

    def figures(self) -> dict[str, float]:
        """Return the figures of the table, by its headings. Figures that the logs lack are omitted."""
        with torch.device("meta"):
            found = {"parameters": float(count_parameters(build(self.files.config.model)))}
        found["updates"] = float(self.files.step)
        losses, bleus = self.log("valid_loss"), self.log("valid_bleu")
        if losses:
            found |= {"validation loss (last)": losses[max(losses)], "(lowest)": min(losses.values())}
        if bits := self.log("valid_bits_per_character"):
            found["bits per character"] = bits[max(bits)]
        if bleus:
            found |= {"validation BLEU (last)": bleus[max(bleus)], "(highest)": max(bleus.values())}
        if self.files.seconds:
            found["minutes"] = self.files.seconds / 60
            tokens = sum(n * b["seconds_per_update"] * b.get("tgt_tokens_per_second", 0) for n, b in self.files.blocks)
            found["target tokens/s"] = tokens / self.files.seconds
        for key, name in (("memory_mib", "memory (MiB)"), ("gpu_memory_mib", "GPU memory (MiB)")):
            if used := self.log(key):
                found[name] = max(used.values())
        return found


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed only, in the order in which they were given."""

    name: str
    runs: tuple[ComparedRun, ...]

    @property
    def label(self) -> str:
        """Name, with the number of seeds if there are several."""
        return self.name if len(self.runs) == 1 else f"{self.name} ({len(self.runs)} seeds)"

    def seed_label(self, run: ComparedRun) -> str:
        """Return the seed of a run of the group; with its name if another run has the same seed."""
        seeds = [own.settings["train.seed"] for own in self.runs]
        seed = run.settings["train.seed"]
        return f"seed {seed}" if seeds.count(seed) == 1 else f"seed {seed}: {run.name}"

    def values(self, name: str) -> str:
        """Return the value of a setting; several values if the runs differ."""
        return " / ".join(dict.fromkeys(_show(run.settings[name]) for run in self.runs))

    def curve(self, name: str, by_minutes: bool) -> Line:
        """Return a logged value as a line: the mean of all seeds, and its range, at the updates that all have."""
        logs = [run.log(name) for run in self.runs]
        steps = sorted(set.intersection(*map(set, logs)))
        xs: Sequence[float] = steps
        if by_minutes:
            xs = [statistics.fmean(at) for at in zip(*(run.minutes(steps) for run in self.runs), strict=True)]
        rows = [[log[step] for log in logs] for step in steps]
        points: list[Point] = [(x, statistics.fmean(row)) for x, row in zip(xs, rows, strict=True)]
        spread = [(x, min(row), max(row)) for x, row in zip(xs, rows, strict=True)] if len(logs) > 1 else []
        return Line(self.label, points, spread)


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """Read run folders.

    Raises:
        FileNotFoundError: a folder is no run folder.
        InputError: there are fewer than two runs, one is given twice, a file is damaged, or their tasks differ.
    """
    if len(folders) < 2:
        raise InputError("give at least two run folders, such as: python -m train.compare runs/a runs/b")
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{folder} is given twice. Give each run once")
    runs = [_read(folder, name) for folder, name in zip(folders, _names(places), strict=True)]
    tasks = {run.files.config.data.task: run.name for run in runs}
    if len(tasks) > 1:
        of_tasks = " and ".join(f"{name} ({task})" for task, name in tasks.items())
        raise InputError(f"runs of different tasks cannot be compared: {of_tasks}")
    return runs


def _read(folder: Path, name: str) -> ComparedRun:
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no config.yaml")
    reject_links_in_run(folder)
    identity = read_json(folder / "identity.json") if (folder / "identity.json").is_file() else {}
    if not is_identity(identity):
        raise InputError(f"{folder / 'identity.json'} is damaged. Restore it from a copy, or delete it")
    return ComparedRun(name, read_run(folder), dict(identity))


def _names(places: Sequence[Path]) -> list[str]:
    """Return the names of the folders, with as many parents as are needed to tell them apart."""
    most = max(len(place.parts) for place in places)
    for parts in range(1, most + 1):
        names = ["/".join(place.parts[-parts:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def group_runs(runs: Iterable[ComparedRun]) -> list[Group]:
    """Put runs that differ in the seed only into one group, in the order in which they are given."""
    groups: list[list[ComparedRun]] = []
    for run in runs:
        own = next((group for group in groups if group[0].is_like(run)), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    return [Group(_group_name([run.name for run in group]), tuple(group)) for group in groups]


def _group_name(names: Sequence[str]) -> str:
    """Return what the names of all runs begin with, without the word seed at its end."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    begin = "".join(first for first, *_ in same).rstrip("-_., ")
    return begin.removesuffix("seed").rstrip("-_., ") or names[0]


def differing_settings(groups: Sequence[Group]) -> list[list[str]]:
    """Return the settings whose values differ, each with its value in every group."""
    names = [name for name in groups[0].runs[0].settings if name not in NOT_COMPARED]
    rows = [[name, *(group.values(name) for group in groups)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def comparability(groups: Sequence[Group]) -> list[str]:
    """Return sentences about curves and figures that cannot be compared."""
    notes = []
    runs = [run for group in groups for run in group.runs]
    of_pairs = runs[0].files.config.data.task == "translation"
    if _differ(runs, lambda run: _part(run.prepared, "tokenizer")):
        notes.append("The vocabularies differ, so losses and perplexities per token cannot be compared.")
    if _differ(runs, lambda run: _part(run.prepared, "valid.jsonl" if of_pairs else "valid")):
        notes.append("The validation data differ, so the figures of the validation cannot be compared.")
    if _differ(runs, lambda run: run.settings["validation.bleu_sentences"]):
        notes.append("The numbers of validation sentences for BLEU differ (validation.bleu_sentences).")
    for run in runs:
        if run.files.step < run.files.config.train.max_steps:
            notes.append(f"{run.name} has done {run.files.step:,} of {run.files.config.train.max_steps:,} updates.")
    return notes


def _part(prepared: Any, prefix: str) -> Any:
    """Return the checksums of the files that begin with `prefix`; the fingerprint of all if there are none."""
    if not isinstance(prepared, dict):
        return prepared
    return sorted((name, digest) for name, digest in prepared.items() if name.startswith(prefix))


def _differ(runs: Sequence[ComparedRun], value: Callable[[ComparedRun], Any]) -> bool:
    return any(value(run) != value(runs[0]) for run in runs)


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Return the mean; of values that differ, with their standard deviation."""
    mean = f"{statistics.fmean(values):,.{digits}f}"
    return mean if len(set(values)) == 1 else f"{mean} ± {statistics.stdev(values):,.{digits}f}"


DIGITS = {
    "validation loss (last)": 4,
    "(lowest)": 4,
    "bits per character": 4,
    "validation BLEU (last)": 2,
    "(highest)": 2,
    "minutes": 1,
}
"""Digits of the figures after the point; 0 for all others."""


def figures_table(groups: Sequence[Group]) -> list[list[str]]:
    """Return headings and rows: one row per group, and below it one per seed if there are several."""
    figures = {run.name: run.figures() for group in groups for run in group.runs}
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    rows = [["run", *names]]
    for group in groups:
        own = [figures[run.name] for run in group.runs]
        cells = ([found[name] for found in own if name in found] for name in names)
        rows.append(
            [
                group.label,
                *(mean_and_spread(c, DIGITS.get(n, 0)) if c else "" for n, c in zip(names, cells, strict=True)),
            ]
        )
        if len(own) > 1:
            for run in group.runs:
                found = figures[run.name]
                shown = (mean_and_spread([found[n]], DIGITS.get(n, 0)) if n in found else "" for n in names)
                rows.append([group.seed_label(run), *shown])
    return rows


def _show(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list() | tuple():
            return f"[{', '.join(map(_show, value))}]"
        case _:
            return str(value)
