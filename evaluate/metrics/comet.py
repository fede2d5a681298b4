"""COMET (Rei et al., 2020) by the user's own `comet-score`. It needs an environment of its own and is no dependency."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.errors import InputError
from common.text import show_controls

COMMAND = "comet-score"
INSTALL = "python -m venv comet && comet/bin/pip install unbabel-comet, then give --comet comet/bin/comet-score"


@dataclass(frozen=True)
class CometScore:
    """COMET of a translated test set."""

    score: float
    """Mean of the sentences, about 0 to 1 for the usual models. Higher is better."""
    command: str
    """The command, without folders and files."""


def find_comet(command: str) -> list[str]:
    """Return the words of a command such as `comet-score --model Unbabel/wmt22-comet-da`.

    Raises InputError if there is no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--comet {command!r} is not a command: {error}. Close the quotation marks.") from error
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise InputError(
            f"there is no program {words[0] if words else command!r} for --comet. Install COMET in its own "
            f"environment: {INSTALL}."
        )
    gpus = (
        [] if any(word.startswith("--gpus") for word in words) or torch.cuda.is_available() else ["--gpus", "0"]
    )  # COMET's default is one GPU
    return [program, *words[1:], *gpus]


def comet_score(
    command: Sequence[str], sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> CometScore:
    """Score a translation with one reference.

    Args:
        command: that of `find_comet`.

    Raises InputError if the command fails or prints no score.
    """
    with tempfile.TemporaryDirectory() as work:
        texts = {"-s": sources, "-t": hypotheses, "-r": references}
        files = []
        for option, lines in texts.items():
            file = Path(work) / f"{option[1]}.txt"
            file.write_text("".join(f"{line.replace(chr(13), ' ')}\n" for line in lines), encoding="utf-8")
            files += [option, str(file)]
        print(f"computing COMET: {show_controls(shlex.join(command))}", file=sys.stderr)
        done = subprocess.run([*command, *files, "--quiet"], stdout=subprocess.PIPE, text=True)
    found = re.findall(r"score:\s*(-?\d+(?:\.\d+)?)\s*$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        reason = f"ended with status {done.returncode}" if done.returncode else "printed no score"
        raise InputError(f"{command[0]} {reason}. Its messages are above; try the same command alone.")
    return CometScore(float(found[-1]), shlex.join([Path(command[0]).name, *command[1:]]))
