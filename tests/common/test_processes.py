"""common/processes.py: what the launcher was asked for, and what it started."""

import psutil
import pytest

from common.errors import InputError
from common.processes import check_launcher

ACCELERATE = ["/usr/bin/python", "/venv/bin/accelerate", "launch"]


@pytest.mark.parametrize("option", [["--num_processes", "2"], ["--num_processes=2"], ["--num-processes", "2"]])
def test_check_launcher_rejects_single_process_if_several_were_asked_for(
    option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: [*ACCELERATE, "--cpu", *option, "train/train.py"])
    with pytest.raises(InputError, match=r"asked for 2 processes, but it started 1\. Start with .*--multi_gpu"):
        check_launcher()
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launcher()


@pytest.mark.parametrize(
    "line",
    [
        [*ACCELERATE, "--num_processes", "1", "train/train.py"],
        [*ACCELERATE, "train/train.py"],
        ["bash", "-c", "python train/train.py --num_processes 2"],
        [],
    ],
)
def test_check_launcher_accepts_one_process(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: line)
    check_launcher()
