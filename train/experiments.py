"""Many runs: all YAML files of a folder, and all values of a grid, each with several seeds.

A run is trained and scored by the commands that users start, so it resumes as every run. Its result is a JSON file next
to the run folder, written when both commands have ended. Several processes may work on the same folder: a lock file
makes sure that only one of them takes a run, and is released if the process is killed.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from common.command import module_name
from common.errors import InputError
from common.files import make_folder, read_json, try_lock, write_json, write_text
from common.settings import dump_settings, flatten_settings, load_settings
from common.text_input import read_all_lines
from evaluate.evaluation import file_stems
from evaluate.metrics.paired_seeds import sentence_statistics
from evaluate.test_sets import Selection, find_test_sets
from train.config import RunConfig
from transformer.model import count_parameters
from transformer.pretrained import load_pretrained

COMMON = "common.yaml"
"""File with the settings of all rows, below those of each file."""
NOT_IN_NAMES = re.compile(r"[^\w.,=+-]")
"""Characters that the name of a run folder does not take from a setting."""


@dataclass(frozen=True)
class Experiment:
    """One run of a sweep: a row with a seed."""

    row: str
    """Name of the file, with the values of the grid."""
    seed: int
    config: RunConfig
    """All settings; `run_dir` is the run folder."""
    selection: Selection
    """Test set that gives BLEU."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(str(self.config.run_dir))

    @property
    def name(self) -> str:
        """Name in messages, and of the run folder."""
        return self.folder.name

    @property
    def result_file(self) -> Path:
        """File with the result."""
        return self.folder.with_name(f"{self.name}.json")

    @property
    def log_file(self) -> Path:
        """File with what the commands print."""
        return self.folder.with_name(f"{self.name}.log")

    def result(self) -> dict[str, Any] | None:
        """Return the result; None if there is none of these settings."""
        with suppress(FileNotFoundError):
            found = read_json(self.result_file)
            if found["settings"] == dump_settings(self.config) and found["score"] == score_options(self.selection):
                return dict(found)
        return None

    def progress(self) -> float:
        """Return the share of the updates that the logs contain, from 0 to 1."""
        last = 0
        for log in ("metrics.jsonl", "timing.jsonl"):
            with suppress(OSError):
                steps = re.findall(rb'"step": (\d+)', (self.folder / log).read_bytes()[-4096:])
                last = max([last, *map(int, steps)])
        return min(1.0, last / self.config.train.max_steps)


def plan(
    folder: Path,
    runs: Path,
    seeds: Sequence[int],
    grid: Sequence[str] = (),
    overrides: Sequence[str] = (),
    selection: Selection | None = None,
) -> list[Experiment]:
    """Return all experiments of a folder with YAML files, or of one file; all rows with the first seed come first.

    Args:
        grid: settings with several values, such as `model.n_layers=2,4`: each combination is a row of its own.
        overrides: settings of all rows, which replace those of the files.

    Raises InputError if there is no file, or if a setting is wrong. So no run begins if one of them cannot.
    """
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder]
    files = sorted((file for file in files if file.name != COMMON), key=lambda file: file.stem != "base")
    if not files:
        raise InputError(f"{folder} has no YAML file with settings. Give a folder with one file per row, or one file")
    common = (folder if folder.is_dir() else folder.parent) / COMMON
    below = flatten_settings(load_settings(RunConfig, common)) if common.is_file() else None
    experiments = []
    for seed, file, values in product(seeds, files, product(*map(_choices, grid))):
        row = ",".join([file.stem, *values])
        run_dir = runs / f"{NOT_IN_NAMES.sub('_', row)}-seed{seed}"
        own = [*overrides, *values, f"train.seed={seed}", f"run_dir={run_dir}"]
        config = load_settings(RunConfig, file, own, below)
        if config.size != "given":
            raise InputError(f"{file}: size={config.size} is not for a sweep. Write the sizes into the file")
        experiments.append(Experiment(row, seed, config, selection or Selection()))
    _refuse_equal(experiments)
    return experiments


def _choices(setting: str) -> list[str]:
    """Return `a.b=1,2` as `a.b=1` and `a.b=2`. A comma inside brackets does not divide."""
    name, equals, values = setting.partition("=")
    found = re.findall(r"(?:\[[^\]]*\]|[^,\[])+", values)
    if not equals or not found:
        raise InputError(f"--set {setting}: write a setting with its values, such as model.n_layers=2,4")
    return [f"{name}={value}" for value in found]


def _refuse_equal(experiments: Sequence[Experiment]) -> None:
    """Raise InputError if two experiments have one name: a seed or a value is given twice."""
    names = [one.name for one in experiments]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is given twice. Name each seed and each value once")


@dataclass
class Sweep:
    """Trains and scores experiments, several at once."""

    experiments: Sequence[Experiment]
    show: Callable[["Sweep"], None]
    """Called when the state of an experiment changes."""
    states: dict[str, str] = field(default_factory=dict)
    """By name: `waiting`, `training`, `scoring`, `done`, `failed` or `elsewhere` (another process has it)."""

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        for one in self.experiments:
            self.states[one.name] = "waiting" if one.result() is None else "done"

    def run(self, at_once: int, gpus: int) -> list[Experiment]:
        """Run what is not done, with one process per device. Return the experiments that failed.

        If this process is interrupted, the runs save checkpoints and end.
        """
        waiting = iter([one for one in self.experiments if self.states[one.name] != "done"])
        self.show(self)
        with ThreadPoolExecutor(at_once) as pool:
            workers = [pool.submit(self._work, waiting, i % gpus if gpus else None) for i in range(at_once)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                self._stop()
                raise
        return [one for one in self.experiments if self.states[one.name] == "failed"]

    def _stop(self) -> None:
        self._stopped.set()
        with self._lock:
            for process in self._processes:
                process.terminate()  # the trainer saves a checkpoint

    def _work(self, waiting: Iterable[Experiment], gpu: int | None) -> None:
        while not self._stopped.is_set():
            with self._lock:
                one = next(iter(waiting), None)
            if one is None:
                return
            self._set(one, self._run(one, gpu))

    def _set(self, one: Experiment, state: str) -> None:
        if not self._stopped.is_set():
            self.states[one.name] = state
            self.show(self)

    def _run(self, one: Experiment, gpu: int | None) -> str:
        """Train and score one experiment and write its result. Return its state."""
        with try_lock(one.folder.with_name(f".{one.name}.lock")) as ours:
            if not ours or _is_locked(one.folder):  # a trainer whose sweep was killed still has its run folder
                return "elsewhere"
            if one.result() is not None:
                return "done"
            settings = one.folder.with_name(f"{one.name}.yaml")
            write_text(settings, dump_settings(one.config))
            figures = one.folder / "eval/figures.json"
            make_folder(figures.parent)
            train = [module_name("train/train.py"), "--config", str(settings)]
            score = [module_name("evaluate/bleu.py"), "--model", str(one.folder), "--json", str(figures)]
            score += score_options(one.selection)
            for state, command in (("training", train), ("scoring", score)):
                self._set(one, state)
                if self._start(command, one.log_file, gpu):
                    return "failed"
            write_json(one.result_file, _read_result(one, figures))
        return "done"

    def _start(self, command: Sequence[str], log: Path, gpu: int | None) -> int:
        """Run `python -m command` with its output in the log. Return its exit status."""
        device = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        with log.open("ab") as output:
            with self._lock:
                if self._stopped.is_set():
                    return 1
                process = subprocess.Popen(
                    [sys.executable, "-m", *command], env=os.environ | device, stdout=output, stderr=subprocess.STDOUT
                )
                self._processes.add(process)
            status = process.wait()
            with self._lock:
                self._processes.discard(process)
        return status


def score_options(selection: Selection) -> list[str]:
    """Return the options of `evaluate/bleu.py` for a choice of test sets."""
    options = {
        "--source": [selection.source],
        "--reference": selection.references,
        "--test-set": [selection.sacrebleu_name],
        "--langpair": ["-".join(selection.languages)] if selection.languages else [],
    }
    given = {name: [str(value) for value in values if value is not None] for name, values in options.items()}
    return [word for name, values in given.items() if values for word in (name, *values)]


def _is_locked(folder: Path) -> bool:
    with try_lock(folder / ".lock") as free:
        return not free


def _read_result(one: Experiment, figures: Path) -> dict[str, Any]:
    """Return the figures of a finished run, with the statistics of each sentence for the paired test."""
    report = json.loads(figures.read_text(encoding="utf-8").splitlines()[0])
    lines = (one.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    perplexities = [line["valid_ppl"] for line in map(json.loads, lines) if "valid_ppl" in line]
    test_set = find_test_sets(one.selection, one.folder)[0]
    hypotheses = read_all_lines(figures.with_name(f"{file_stems([test_set.name])[0]}.hyp"))
    statistics = sentence_statistics(hypotheses, test_set.references[0], report["tokenizer"])
    return {
        "settings": dump_settings(one.config),
        "score": score_options(one.selection),
        "test_set": test_set.name,
        "parameters": count_parameters(load_pretrained(one.folder)[0]),
        "perplexity": perplexities[-1],
        **{key: report[key] for key in ("bleu", "signature", "pronouns_right", "pronouns_all")},
        "statistics": statistics.tolist(),
    }
