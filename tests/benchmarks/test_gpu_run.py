"""`benchmarks/gpu_run.py` from its beginning to its end, in miniature and in this process."""

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from accelerate.state import AcceleratorState

from benchmarks import decoding, gpu_check, gpu_memory, gpu_run, loss, runner, time_to_bleu, training
from benchmarks.gpu_run import SECONDS, collect, parse_part, run, tables
from common.errors import InputError
from common.settings import last_overrides
from train import train as train_command

PARTS = [part for part in SECONDS if part != "prepare"]
LIMITS = ("matmul_gflop_per_second", "copy_gb_per_second")
COMMANDS = {module.__name__: module.main for module in (training, decoding, loss, gpu_check, gpu_memory, time_to_bleu)}


class ProgramHere:
    """A program of a benchmark in this process."""

    def __init__(self, start: runner.Start, task: Any, device: str, threads: int) -> None:
        self.ask = start(task)

    def close(self) -> None:
        """Do nothing."""


def call(main: Any, words: list[str]) -> str:
    """Return the exit status of a command with these words, run in this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(runner.ROOT / "benchmarks/gpu_run.py"), *words])
        try:
            main()
        except SystemExit as end:
            return str(end.code or 0)
    return "0"


def run_here(command: list[str], limit: float, log: IO[str], folder: Path, out: Path) -> str:
    """Run the command of a part in this process."""
    module = command[2] if command[1] == "-m" else ""
    with redirect_stdout(log):
        status = call(COMMANDS[module], command[3:]) if module else call(train_command.main, command[2:])
    collect(folder, out)
    return status


def train_here(folder: Path, cache: Path, name: str, *settings: str, updates: int = gpu_check.UPDATES) -> Path:
    """Train as `gpu_check.train` does, in this process."""
    places = (f"data.cache_dir={cache}", f"run_dir={folder / name}", f"train.max_steps={updates}")
    assert call(train_command.main, last_overrides([*gpu_check.SETTINGS, *places, *settings])) == "0"
    return folder / name


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run everything in this process and without a compiler, whose start takes most of the time."""
    monkeypatch.setattr(gpu_run, "run", run_here)
    monkeypatch.setattr(gpu_check, "train", train_here)
    monkeypatch.setattr(runner, "Program", ProgramHere)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(training, "PRODUCTS", {"cpu": [(64, 64, 64)]})
    monkeypatch.setattr(decoding, "measure_machine", lambda _: dict.fromkeys(LIMITS, 1.0))
    monkeypatch.setattr(gpu_check, "SETTINGS", (*gpu_check.SETTINGS, "batches.per_update=1"))
    yield
    torch.use_deterministic_algorithms(False)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("here")
def test_gpu_run_measures_all_parts(tmp_path: Path) -> None:
    assert call(gpu_run.main, [str(tmp_path), "--smoke-test"]) == "0"
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == PARTS
    cell = results["compiled-1"]["training"]["smallest"]["bf16"]
    assert cell["paper-transformer, compiled (dynamic)"]["target_tokens_per_second"] > 0
    assert "MarianMTModel, bf16 weights, compiled (dynamic)" in results["all-compiled"]["training"]["smallest"]["bf16"]
    assert all(results["check"]["gpu_check"]["passed"].values())
    assert {path.name for path in tmp_path.iterdir()} >= {"summary.txt", "log.txt", "multi30k_metrics.jsonl"}
    assert all(f"## {part}" in (tmp_path / "summary.txt").read_text() for part in PARTS)


@pytest.mark.usefixtures("here")
def test_gpu_run_goes_on_after_failed_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, training.__name__, lambda: sys.exit(3))
    assert call(gpu_run.main, [str(tmp_path), "--smoke-test", "--parts", "train-1", "memory"]) == "1"
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert lines[1].split() == ["train-1", "0", "s", "3"]
    assert lines[2].split()[-1] == "0"
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["memory"]


def test_run_collects_results_of_part_that_runs_out_of_time(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    program = f"""if True:
        import pathlib, time
        pathlib.Path({str(folder / "x.json")!r}).write_text('{{"figure": 1, "tables": {{}}}}')
        time.sleep(60)"""
    with (tmp_path / "log.txt").open("w") as log:
        assert run([sys.executable, "-c", program], 2, log, folder, tmp_path) == "time out"
    assert json.loads((tmp_path / "results.json").read_text()) == {"part": {"x": {"figure": 1, "tables": {}}}}
    assert list(tables(tmp_path)) == []


def test_parse_part_rejects_unknown_part() -> None:
    assert parse_part("check=20") == ("check", 20.0)
    with pytest.raises(InputError, match="no part 'x'"):
        parse_part("x")
