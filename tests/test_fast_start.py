"""What commands import: packages that a command does not need would make it start seconds later."""

import subprocess
import sys
from pathlib import Path

from common.command import module_name
from paper_transformer.__main__ import COMMANDS
from tests.tiny_model import TEXT, make_folder

ROOT = Path(__file__).resolve().parent.parent
SLOW = {
    "accelerate", "datasets", "huggingface_hub", "pandas", "pyarrow", "sacrebleu", "sacremoses", "sympy",
    "tensorboard", "torch._dynamo", "torch._inductor", "transformers",
}  # fmt: skip
"""Modules that a translation does not need."""
RUN = """
import runpy, sys
def run(module, *arguments):
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        assert not end.code, module
"""


def imported(script: str, *arguments: str) -> set[str]:
    """Return the modules that a new Python process prints as the last line of a script."""
    command = [sys.executable, "-c", RUN + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_of_commands_imports_no_slow_packages() -> None:
    script = "for module in sys.argv[1:]: run(module, '--help')\nprint(*sys.modules)"
    commands = [*(module_name(file) for file, _ in COMMANDS.values()), "evaluate.make_shortlist"]
    found = imported(script, *commands)
    assert found & {*SLOW, "numpy", "sentencepiece", "torch", "tqdm"} == set()


def test_translation_imports_only_slow_packages_of_torch(tmp_path: Path) -> None:
    script = """
import torch
before = set(sys.modules)
run("transformer.translate", "--model", sys.argv[1], "--max-extra", "4", sys.argv[2])
print(*(set(sys.modules) - before))"""
    found = imported(script, str(make_folder(tmp_path)), TEXT[0])
    assert "evaluate.translator" in found
    assert found & SLOW == set()
