"""common/command.py: failures become one sentence and a status, and no failure is lost."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.command import run_command

ROOT = Path(__file__).resolve().parents[2]


def fail(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status and what is said when a command raises `error`."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "TRANSFORMER_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("this is\n wrong"), 2, "error: this is wrong\n"),
        (FileNotFoundError("there is no x"), 2, "error: there is no x\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2, "error: f: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error, capsys) == (status, said)


def test_a_full_disk_is_named_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = fail(OSError(errno.ENOSPC, "No space left on device", "runs/x/model.safetensors"), capsys)
    assert status == 2
    assert said.startswith("error: the disk is full while writing runs/x/model.safetensors; make room")


def test_a_device_without_memory_is_told_what_to_lower(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = fail(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"), capsys)
    assert status == 2
    assert said.count("\n") == 1
    assert "decode.batch_tokens" in said
    assert "train.micro_tokens" in said


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_command(main)


@pytest.mark.parametrize("error", [ValueError("x"), torch.OutOfMemoryError("x")])
def test_debugging_shows_the_traceback_of_everything(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise error

    monkeypatch.setenv("TRANSFORMER_DEBUG", "1")
    with pytest.raises(type(error)):
        run_command(main)


@pytest.mark.parametrize(
    ("local", "rank", "said"), [("0", "0", "error: x\n"), ("1", "5", "rank 5: error: x\n"), ("0", "4", "error: x\n")]
)
def test_one_process_of_a_host_speaks_as_if_alone_and_the_others_say_who_they_are(
    local: str, rank: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setenv("RANK", rank)
    assert fail(ValueError("x"), capsys) == (2, said)


def test_the_command_line_does_not_wait_for_pytorch() -> None:
    code = "import sys; from common.command import run_command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
