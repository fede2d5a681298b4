"""Run a hostile input in a process of its own, and say what is wrong with its end."""

import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import torch
from datasets import Dataset

from data_pipeline.prepared_data import prepare
from evaluate.evaluation import evaluate_text
from evaluate.generator import Generator
from tests import tiny_gpt, tiny_model, tiny_run
from tests.conftest import make_pairs, write_parallel
from train.loop import train

LOADED = (train, evaluate_text, Generator, prepare, Dataset, pa.Table)
"""Imported before the processes are forked: this takes 2 seconds, each input a part of a second."""
ADDRESS_SPACE = 8 * 2**30
MOST_MEMORY = 2 * 2**30
"""Largest resident memory of an input, libraries included."""
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Input:
    """A hostile input and how it must end."""

    name: str
    command: str
    """File of a command and its arguments. `{base}` is the folder with the models and the corpus."""
    make: Callable[[Path], None] = lambda folder: None
    """Writes files into the folder in which the command runs. Beside that folder is `home`, with other files."""
    end: Literal["refused", "right", "either"] = "refused"
    """refused: status 2 and one sentence. right: status 0. either: one of them."""
    says: str = ""
    """Regular expression that the sentence must contain."""
    seconds: float = 60
    stdin: bytes = b""


@dataclass(frozen=True)
class Result:
    """How an input ended."""

    faults: list[str] = field(default_factory=list)
    line: str = ""


def make_base(folder: Path) -> Path:
    """Write models, a run folder and a corpus that the inputs copy or name."""
    folder.mkdir(parents=True)
    tiny_model.make_folder(folder / "model")
    tiny_gpt.make_folder(folder / "gpt")
    tiny_run.make_folder(folder / "run")
    write_parallel(folder, "a", make_pairs(60))
    return folder


def run_input(one: Input, base: Path, folder: Path) -> Result:
    """Run an input, print a line about its end, and return what is wrong."""
    work, home = folder / "work", folder / "home"
    work.mkdir(parents=True)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id").write_text("private\n")
    (home / "victim").write_text("precious\n")
    (folder / "stdin").write_bytes(one.stdin)
    copy_base(base, work)
    one.make(work)
    before = snapshot(home) | snapshot(base)
    started = time.monotonic()
    status, memory = run_child(one, base, folder)
    seconds = time.monotonic() - started
    err = (folder / "err").read_text(encoding="utf-8", errors="replace")
    faults = find_faults(one, status, err, memory)
    if snapshot(home) | snapshot(base) != before:
        faults.append("it wrote outside its folder")
    last = err.strip().splitlines()[-1][:150] if err.strip() else ""
    outcome = "WRONG: " + "; ".join(faults) if faults else "refused" if status == 2 else "right"
    line = f"{one.name}: {outcome} ({seconds:.1f} s, {memory / 2**20:.0f} MB) {last}"
    print(line, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return Result(faults, line)


def copy_base(base: Path, work: Path) -> None:
    """Copy the corpus, which most commands name."""
    for name in ("a.en", "a.de"):
        shutil.copy(base / name, work / name)


def snapshot(folder: Path) -> dict[str, str]:
    """Return the content of every file, and the target of every link."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if ".cache" in path.parts:
                continue
            found[str(path)] = str(path.readlink()) if path.is_symlink() else _content(path)
    return found


def _content(path: Path) -> str:
    return path.read_bytes().hex()[:200] + str(path.stat().st_size) if path.is_file() else "folder"


def run_child(one: Input, base: Path, folder: Path) -> tuple[int, int]:
    """Return the exit status (negative: a signal; 99: too slow) and the largest resident memory in bytes."""
    child = os.fork()
    if child == 0:
        _become(one, base, folder)
    deadline, slow = time.monotonic() + one.seconds, False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return 99 if slow else code, used.ru_maxrss * 1024
        if not slow and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            slow = True
        time.sleep(0.01)


def _become(one: Input, base: Path, folder: Path) -> None:
    """Turn this process into the command. It never returns."""
    status = 70
    try:
        os.chdir(folder / "work")
        os.environ["HOME"] = str(folder / "home")
        os.environ["SECRET_TOKEN"] = "hunter2"
        for number, name, flags in (
            (0, "stdin", os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT), (2, "err", os.O_WRONLY | os.O_CREAT)
        ):  # fmt: skip
            os.dup2(os.open(folder / name, flags, 0o600), number)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        torch.set_num_threads(1)
        file, *arguments = shlex.split(one.command.replace("{base}", str(base)))
        sys.argv = [file, *arguments]
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        runpy.run_module(file.removesuffix(".py").replace("/", "."), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def find_faults(one: Input, status: int, err: str, memory: int) -> list[str]:
    """Return what is wrong with the end of a command."""
    faults = []
    if status == 99:
        faults.append(f"not ended after {one.seconds} s")
    elif status < 0:
        faults.append(f"signal {-status}")
    if "Traceback" in err or "This is a bug" in err:
        faults.append("traceback")
    if "hunter2" in err:
        faults.append("it printed an environment variable")
    if memory > MOST_MEMORY:
        faults.append(f"{memory / 2**20:.0f} MB")
    if CONTROLS.search(err):
        faults.append("raw control character")
    if not faults and status not in {"refused": (2,), "right": (0,), "either": (0, 2)}[one.end]:
        faults.append(f"status {status}, but it must be {one.end}")
    if status == 2 and not faults:
        faults += check_sentence(err, one.says)
    return faults


def check_sentence(err: str, says: str) -> list[str]:
    """Return what is wrong with the message of a refused input."""
    lines = [line for line in err.splitlines() if re.match(r"(rank \d+: )?error: |[\w./-]+: error: ", line)]
    if len(lines) != 1:
        return [f"{len(lines)} lines of error"]
    if len(lines[0]) > 4100:
        return [f"an error of {len(lines[0])} characters"]
    return [] if re.search(says, lines[0]) else [f"the error lacks {says!r}"]
