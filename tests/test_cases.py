"""Inputs modelled on what people report, one folder per case in tests/cases/. To add a case, add a folder.

A folder has input files and a `case.yaml`:

    what: A person scores a test set with an empty line.     # one sentence
    runs:                                                    # one or more commands, in order
      - run: evaluate/bleu.py --hypotheses a.de --reference b.de --output out
        status: 0                                            # exit status (default: 0)
        stdin: "text for standard input"                     # optional
        stdout: [BLEU 13a, "regular expression"]             # each must be found; `not stdout` must not be found
        stderr: [...]                                        # likewise, and `not stderr`
        files: {out/a.hyp: "exact content"}                  # files after the run; null: the file must not exist

The command starts with the file of a command of this project. It runs in this process, in a copy of the folder.
`{model}` stands for a folder with a small translation model (random weights), `{gpt}` for one with a small language
model, `{run}` for a small run folder with a checkpoint, and `{case}` for the copy of the folder. A run with `bash:`
instead of `run:` is a line for bash: use it for pipes, redirections and other locales, and start commands with
`python -m` or `python {root}/evaluate/bleu.py`; it takes seconds, so prefer `run:`. Strings in `make:` (a list, before
the runs) are Python statements that make input files, for bytes that no text file can show:
`Path("a.en").write_bytes(b"\\xff\\n")`. They have the names `model`, `gpt`, `run` and `case`, which are paths; copy a
folder before you change it.
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState

from tests import tiny_gpt, tiny_model, tiny_run

ROOT = Path(__file__).resolve().parent.parent
CASES = sorted(file.parent for file in (ROOT / "tests" / "cases").glob("*/case.yaml"))
RUN_KEYS = {"run", "bash", "status", "stdin", "stdout", "not stdout", "stderr", "not stderr", "files"}


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status and its output."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    makers = {"model": tiny_model.make_folder, "gpt": tiny_gpt.make_folder, "run": tiny_run.make_folder}
    return {name: make(folder / name) for name, make in makers.items()}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case_has_expected_outcome(
    folder: Path,
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    case = yaml.safe_load((folder / "case.yaml").read_text(encoding="utf-8"))
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    places = {**models, "case": copy, "root": ROOT}
    for statement in case.get("make", []):
        exec(statement, {"Path": Path, "shutil": shutil, **places})
    for number, run in enumerate(case["runs"], 1):
        assert run.keys() <= RUN_KEYS, f"run {number}: unknown keys {run.keys() - RUN_KEYS}"
        line = run.get("bash") or run["run"]
        for name, place in places.items():
            line = line.replace(f"{{{name}}}", str(place))
        result = (
            run_bash(line, run.get("stdin")) if "bash" in run else run_here(line, run.get("stdin"), monkeypatch, capfd)
        )
        check(run, result, f"run {number}: {line}")


def run_here(
    line: str, stdin: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Result:
    """Run a command of the project in this process."""
    file, *arguments = shlex.split(line)
    AcceleratorState._reset_state(reset_partial_state=True)
    Path("stdin").write_text(stdin or "", encoding="utf-8")
    capfd.readouterr()
    status = 0
    with monkeypatch.context() as patch, Path("stdin").open(encoding="utf-8") as text:
        saved = os.dup(0)
        os.dup2(text.fileno(), 0)
        patch.setattr(sys, "argv", [file, *arguments])
        patch.setattr(sys, "stdin", text)
        try:
            runpy.run_module(file.removesuffix(".py").replace("/", "."), run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            os.dup2(saved, 0)
            os.close(saved)
            torch.set_num_threads(1)
    Path("stdin").unlink()
    out = capfd.readouterr()
    return Result(status, out.out, out.err)


def run_bash(line: str, stdin: str | None) -> Result:
    """Run a line of bash; `python` is this interpreter, which finds the project's modules."""
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": python, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"env": environment, "capture_output": True, "input": (stdin or "").encode()}
    done = subprocess.run(["bash", "-c", line], **options)
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def check(run: dict[str, Any], result: Result, where: str) -> None:
    """Compare a result with what a run of `case.yaml` expects."""
    shown = f"{where}\nstatus {result.status}\n--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}"
    assert result.status == run.get("status", 0), shown
    assert "Traceback" not in result.stderr, shown
    for stream in ("stdout", "stderr"):
        text = getattr(result, stream)
        for pattern in run.get(stream, []):
            assert re.search(pattern, text), f"{stream} lacks {pattern!r}\n{shown}"
        for pattern in run.get(f"not {stream}", []):
            assert not re.search(pattern, text), f"{stream} has {pattern!r}\n{shown}"
    for name, content in run.get("files", {}).items():
        if content is None:
            assert not Path(name).exists(), f"{name} exists\n{shown}"
        else:
            assert Path(name).read_text(encoding="utf-8") == content, f"{name} has other content\n{shown}"
