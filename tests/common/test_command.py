"""common/command.py: exit statuses, error messages and the standard streams of all commands."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from common.command import run_command
from common.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def fail(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit status and the standard error of a command that raises `error`."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RANK", "LOCAL_RANK", "TRANSFORMER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("this is\n wrong"), 2, "error: this is wrong\n"),
        (FileNotFoundError("there is no x"), 2, "error: there is no x\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2, "error: f: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_command_prints_one_line_and_exits(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error, capsys) == (status, message)


def test_run_command_names_file_if_disk_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    status, message = fail(OSError(errno.ENOSPC, "No space left on device", "runs/x/model.safetensors"), capsys)
    assert status == 2
    assert message.startswith("error: the disk is full while writing runs/x/model.safetensors. Free some space")


def test_run_command_names_settings_if_out_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    status, message = fail(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"), capsys)
    assert status == 2
    assert message.count("\n") == 1
    assert "decode.batch_tokens" in message
    assert "batches.micro_tokens" in message


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …")]
)
def test_run_command_prints_one_line_if_memory_of_machine_is_full(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    status, message = fail(error, capsys)
    assert status == 2
    assert message.startswith("error: this machine has too little memory. To translate, lower")
    assert message.count("\n") == 1


def test_run_command_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "a\x1b[31m\nb\x9b\u202eü")
    assert fail(error, capsys) == (2, "error: a\\x1b[31m\\nb\\x9b\\u202eü: No such file or directory\n")


def test_run_command_shortens_long_words(capsys: pytest.CaptureFixture[str]) -> None:
    status, message = fail(InputError(f"there is no file {'x' * 100_000}. Give another"), capsys)
    assert status == 2
    assert len(message) < 400
    assert message.endswith("…" + "x" * 49 + ". Give another\n")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_command_prints_one_line_for_several_interrupts() -> None:
    code = (
        "from common.command import run_command\nimport signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job of a shell ignores SIGINT
        "print('ready', flush=True)\n"
        "def main():\n    try:\n        time.sleep(60)\n    finally:\n        time.sleep(0.2)\nrun_command(main)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, message = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert message == "interrupted\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("not enough values to unpack"), KeyError("x")])
def test_run_command_keeps_traceback_of_bug(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_command(main)
    assert "This is a bug" in caught.value.__notes__[0]
    assert "torch" in caught.value.__notes__[0]


def test_run_command_reports_wrong_unpacking_as_bug() -> None:
    code = "from common.command import run_command\ndef main():\n    a, b = [1]\nrun_command(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "not enough values" in done.stderr
    assert "This is a bug in paper-transformer" in done.stderr


@pytest.mark.parametrize("error", [InputError("x"), torch.OutOfMemoryError("x")])
def test_run_command_shows_traceback_in_debug_mode(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        raise error

    monkeypatch.setenv("TRANSFORMER_DEBUG", "1")
    with pytest.raises(type(error)):
        run_command(main)


@pytest.mark.parametrize(
    ("local", "rank", "message"),
    [("0", "0", "error: x\n"), ("1", "5", "rank 5: error: x\n"), ("0", "4", "error: x\n")],
)
def test_run_command_prints_rank_except_for_local_rank_0(
    local: str, rank: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setenv("RANK", rank)
    assert fail(InputError("x"), capsys) == (2, message)


def shell(redirection: str, text: str = "'x'", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command that prints `text`, with its standard output redirected by the shell."""
    code = f"from common.command import run_command\nrun_command(lambda: print({text}))"
    line = ["bash", "-c", f'"$0" -c "$1" {redirection}', sys.executable, code]
    return subprocess.run(line, cwd=ROOT, capture_output=True, env={**os.environ, **environment})


def test_run_command_prints_utf8_in_any_locale() -> None:
    done = shell("", "chr(252) + 'ber'", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.stdout == "über\n".encode()


def test_run_command_names_closed_standard_output() -> None:
    done = shell(">&-")
    assert done.stderr == b"error: standard output: it is closed, so the result cannot be written\n"
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("text", ["'x'", "'x' * 100_000"])
def test_run_command_names_full_standard_output(text: str) -> None:
    done = shell(">/dev/full", text)
    assert done.stderr == b"error: standard output: No space left on device\n"
    assert done.returncode == 2


def test_run_command_ends_silently_if_reader_closes_pipe() -> None:
    done = shell("| true; exit ${PIPESTATUS[0]}", "'x' * 1_000_000")
    assert (done.returncode, done.stderr) == (141, b"")


def test_run_command_does_not_import_torch() -> None:
    code = "import sys; from common.command import run_command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_run_command_writes_no_control_characters_to_terminal() -> None:
    """Also standard error that is no terminal: logs are shown on terminals. A pipe gets the text as it is."""
    pty = pytest.importorskip("pty")
    code = (
        "import sys; from common.command import run_command, write_coloured\n"
        "def main():\n"
        "    print('a\\x1b[31mb\\rc\\x9bd\\te ß字'); write_coloured('ok', 32)\n"
        "    print('\\x1b]0;title\\x07', file=sys.stderr); sys.stderr.write('\\x1b[A'); sys.stderr.write('1%\\r2%')\n"
        "run_command(main)"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1000).decode()
    os.close(ours)
    assert shown == "a\\x1b[31mb\\rc\\x9bd\te ß字\r\n\x1b[32mok\x1b[0m"  # the terminal adds the last \r
    assert done.stderr.decode() == "\\x1b]0;title\\x07\n\x1b[A1%\r2%"
    piped = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60).stdout.decode()
    assert piped.startswith("a\x1b[31mb\rc\x9bd\te ß字\n")
