"""A sample of the hostile inputs; `python -m tests.hostile` runs all."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.inputs import INPUTS


def test_hostile_inputs_have_distinct_names() -> None:
    assert len({one.name for one in INPUTS}) == len(INPUTS)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_hostile_inputs_end_in_one_sentence() -> None:
    command = [sys.executable, "-m", "tests.hostile", "--every", "41"]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
