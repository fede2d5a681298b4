"""A terminal for tests, which keeps what is written to it."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest


class Terminal:
    """A terminal that keeps what is written to it."""

    def __init__(self, columns: int) -> None:
        self.reader, writer = pty.openpty()
        self.stream = os.fdopen(writer, "w", encoding="utf-8", buffering=1)
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def text(self) -> str:
        self.stream.flush()
        os.set_blocking(self.reader, False)
        read = b""
        with suppress(BlockingIOError):
            while True:
                read += os.read(self.reader, 1 << 20)
        return read.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self.reader)


@contextmanager
def terminal_for_messages(columns: int = 80, kind: str = "xterm") -> Iterator[Terminal]:
    """Make a terminal standard error."""
    terminal = Terminal(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", terminal.stream)
        patch.setenv("TERM", kind)
        yield terminal
    terminal.close()
