"""Completion of `paper-transformer` in shells, with the functions that argcomplete gives them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

argcomplete = pytest.importorskip("argcomplete")
ROOT = Path(__file__).resolve().parents[2]
SHELLS = {
    "bash": """
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete paper-transformer 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}" """,
    "zsh": """
BUFFER=$1 CURSOR=${#1}
words=(paper-transformer)
_describe() { print -l -- ${(P)2} }
_python_argcomplete""",
}
"""For each shell, how its completion calls argcomplete's function for the line $1, and prints what it is offered."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment with a command `paper-transformer`."""
    command = tmp_path / "paper-transformer"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m paper_transformer "$@"\n')
    command.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def complete(environment: dict[str, str], line: str) -> dict[str, str]:
    """Return the completions of a line, with their descriptions."""
    asked = {
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_DFS": "\t", "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }  # fmt: skip
    command = ["sh", "-c", "paper-transformer 8>&1 9>&2 1>/dev/null"]
    done = subprocess.run(command, env=environment | asked, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(word.split("\t", 1) for word in done.stdout.split("\n") if word)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("paper-transformer tr", {"train", "translate"}),
        ("paper-transformer translate --form", {"--format"}),
        ("paper-transformer translate --format ", {"text", "html", "srt"}),
        ("paper-transformer train model.norm", {"model.norm=", "model.norm_kind="}),
        ("paper-transformer train model.norm=", {"model.norm=pre", "model.norm=post"}),
        ("paper-transformer prepare --config configs/mul", {f"configs/{p.name}" for p in ROOT.glob("configs/mul*")}),
    ],
)
def test_completion_offers_commands_options_values_settings_and_files(
    line: str, expected: set[str], environment: dict[str, str]
) -> None:
    assert {word.strip() for word in complete(environment, line)} == expected


def test_completion_describes_commands_and_settings(environment: dict[str, str]) -> None:
    assert complete(environment, "paper-transformer transl")["translate"] == "translate text"
    assert "section 3.1" in complete(environment, "paper-transformer train model.d_mod")["model.d_model="]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_works_in_shell(shell: str, environment: dict[str, str]) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    code = argcomplete.shellcode(["paper-transformer"], shell=shell)
    start = "autoload -Uz compinit is-at-least; compinit -D\n" if shell == "zsh" else ""
    script = f"{start}{code}\n{SHELLS[shell]}"
    flags = ["-f"] if shell == "zsh" else ["--norc"]
    command = [shell, *flags, "-c", script, shell, "paper-transformer translate --form"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert [word.partition(":")[0].strip() for word in done.stdout.splitlines() if word] == ["--format"], done.stderr
