"""How a command starts and ends: its standard streams, and what it prints if it fails.

InputError, OSError and a lack of memory are reported in one line, without a traceback, with exit status 2. Any
other exception is a bug: it keeps its traceback, and a note says what to send. TRANSFORMER_DEBUG=1 always shows the
traceback.
"""

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

from common.errors import InputError
from common.input_bytes import begin_reading
from common.text import show_controls
from common.utf8_mode import ensure_utf8
from common.versions import describe_versions

STANDARD_OUTPUT = "standard output"
MOVE_UP = "\033[A"
"""What a progress bar writes, alone, to move the cursor of a terminal up a line."""
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "bad_alloc", "Cannot allocate memory")
"""Text of a RuntimeError of PyTorch or of a C++ library if the memory of the machine is full."""
PREFIX = __name__.removesuffix("common.command")
"""What stands before a room's name in an import: nothing in a checkout, `paper_transformer.` in the wheel."""


def run_command(main: Callable[[], None]) -> None:
    """Call `main` and turn its failures into an exit status: 2 wrong input, 1 bug, 130 Ctrl-C, 141 closed pipe."""
    ensure_utf8()
    prepare_streams()
    begin_reading()
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends now; more of them would print a traceback
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `... | head`: the reader has closed the pipe, which is not an error
        _discard_output()
        sys.exit(141)
    except Exception as error:
        if not is_users_mistake(error):
            error.add_note(
                "This is a bug in paper-transformer. Please report it with the traceback above, the command and "
                f"these versions: {describe_versions()}"
            )
            raise
        if os.environ.get("TRANSFORMER_DEBUG"):
            raise
        # Local rank 0 prints its error without a rank number; other ranks put their number first.
        rank = f"rank {os.environ.get('RANK', '?')}: " if os.environ.get("LOCAL_RANK", "0") != "0" else ""
        print(f"{rank}error: {shorten(show_unprintable(describe_error(error)))}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename == STANDARD_OUTPUT:
            _discard_output()
        sys.exit(2)


def module_name(file: str) -> str:
    """Return the name for `python -m` of a file of this project, such as `evaluate/bleu.py`."""
    return PREFIX + file.removesuffix(".py").removesuffix("/__main__").replace("/", ".")


def is_users_mistake(error: Exception) -> bool:
    """Return True if the user can mend the cause of an exception: its message is printed without a traceback."""
    return isinstance(error, InputError | OSError) or _is_out_of_memory(error)


def show_unprintable(text: str) -> str:
    """Return text with `\\x1b` for ESC, and likewise for each character that a reader of a name would not see."""
    return "".join(c if c == " " or c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(message: str) -> str:
    """Return a message without the middle of words of more than 300 characters, and of itself above 4,000."""
    message = re.sub(r"\S{300,}", lambda word: f"{word[0][:200]}…{word[0][-50:]}", message)
    return message if len(message) <= 4000 else f"{message[:3000]} … {message[-500:]}"


def describe_error(error: Exception) -> str:
    """Return an error message of one line. For an OSError of the operating system: the file and the reason."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename != STANDARD_OUTPUT:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}. Free some space and run the same command again; older files are unchanged"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _is_out_of_memory(error):
        device = "the device" if type(error).__name__ == "OutOfMemoryError" else "this machine"
        return (
            f"{device} has too little memory. To translate, lower decode.batch_tokens (--batch-tokens) or --beam; "
            "to train, lower batches.micro_tokens or the sizes in model; to generate, lower --num-samples or "
            "--max-tokens"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _is_out_of_memory(error: Exception) -> bool:
    """Return True for the errors of Python, NumPy and PyTorch.

    PyTorch's are found by name and text: a command that fails early does not wait for PyTorch's import.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def _end_without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for Ctrl-C before `run_command`, for example during imports."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def prepare_streams() -> None:
    """Make the standard streams UTF-8 whatever the locale is, and let errors of standard output name it.

    If standard output is closed, writing to it raises OSError instead of losing the text silently. If standard error is
    closed or full, messages are lost, but no result. Control characters of a text do not reach a terminal, nor standard
    error.
    """
    _reserve_standard_descriptors()
    if sys.stderr is None or (sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper)):
        errors = _MessageOutput(2 if sys.stderr is None else sys.stderr.fileno(), "wb", closefd=False)
        sys.stderr = _Messages(io.BufferedWriter(errors), "utf-8", "backslashreplace", "\n", line_buffering=True)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        raw = _NamedOutput(sys.stdout.fileno(), "wb", closefd=False)
        stream = _Terminal if raw.isatty() else io.TextIOWrapper
        sys.stdout = stream(io.BufferedWriter(raw), "utf-8", "replace", "\n", line_buffering=raw.isatty())


def write_coloured(text: str, colour: int) -> None:
    """Write text to a terminal, with the number of an ANSI colour."""
    out = sys.stdout
    write = out.write_unchanged if isinstance(out, _Terminal) else out.write
    write(f"\033[{colour}m{text}\033[0m")


class _Terminal(io.TextIOWrapper):
    """A terminal to which the control characters of a text are written as `\\x1b`."""

    keep = "\n\t"

    def write(self, text: str, /) -> int:
        return self.write_unchanged(show_controls(text, self.keep))

    def write_unchanged(self, text: str) -> int:
        """Write text with its control characters."""
        return super().write(text)


class _Messages(_Terminal):
    """Standard error. Progress bars may return to the start of the line, and write how far they move up."""

    keep = "\n\t\r"

    def write(self, text: str, /) -> int:
        moves = not text.replace(MOVE_UP, "").strip("\n")
        return self.write_unchanged(text) if moves else super().write(text)


def _reserve_standard_descriptors() -> None:
    """Open the numbers 0, 1 and 2 if they are closed: a file that got one of them would receive messages."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


class _MessageOutput(io.FileIO):
    """Standard error, which fails silently: a message that cannot be shown must not end a command."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)


class _NamedOutput(io.FileIO):
    """Standard output whose errors name it, as those of a file name the file."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from error


class _ClosedOutput(io.TextIOBase):
    """Standard output that was closed before the command started."""

    def write(self, text: str, /) -> NoReturn:
        raise OSError(errno.EBADF, "it is closed, so the result cannot be written", STANDARD_OUTPUT)


def _discard_output() -> None:
    """Send what is left in the buffers of standard output to nowhere, so that Python's exit does not fail again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


sys.excepthook = _end_without_traceback
