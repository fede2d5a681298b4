"""What stands beside every figure: the machine, the versions, the commit."""

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"


def describe_machine() -> dict[str, Any]:
    """Processor or GPU, cores, versions, and the commit that is checked out."""
    names = ("torch", "accelerate", "datasets", "sentencepiece", "sacrebleu", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True
    ).stdout.strip()
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: installed for name in names if (installed := find_version(name))},
        "commit": commit or None,
    }


def find_version(name: str) -> str | None:
    """Of a package; None where it is not installed, as `datasets` where only prepared data is read."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write `benchmarks/results/<name>.json`, and print it. Figures come from there, never from a keyboard."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"command": shlex.join(["python", *sys.argv]), **result}, indent=2) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    print(text, end="")
