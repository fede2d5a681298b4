"""Versions, commit and machine: what reports, model cards and benchmark results state beside their figures."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "accelerate", "datasets", "sentencepiece", "sacrebleu", "safetensors", "numpy")


def package_version(package: str) -> str:
    """Return the version of an installed package, or `not installed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def describe_versions() -> str:
    """Return one line: the versions of Python and of the packages that results depend on."""
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {package_version(name)}" for name in PACKAGES)


def git_commit(root: Path = ROOT) -> str | None:
    """Return the commit that is checked out at `root`, with a note if files were changed since.

    An installed wheel names the commit that it was built from (`build_wheel.py`). Return None if `root` is neither, or
    if the commit is unknown.
    """
    if (built := root / "commit.txt").is_file():
        recorded = built.read_text(encoding="utf-8").strip()
        return None if recorded == "unknown" else recorded
    top, commit = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit} and changes since"


def describe_machine(gpu: str | None = None) -> dict[str, Any]:
    """Return the CPU, cores, GPU (given by the caller, who has imported torch), versions and commit."""
    found = {name: package_version(name) for name in PACKAGES}
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "python": platform.python_version(),
        "versions": {name: number for name, number in found.items() if number != "not installed"},
        "commit": git_commit(),
    }


def cpu_name() -> str:
    """Return the name of the CPU as the operating system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
