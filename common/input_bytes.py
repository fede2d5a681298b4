"""Bytes of a text, whatever it is stored in: a file, a pipe or standard input; compressed or not; UTF-8 or UTF-16.

The content decides, because a pipe has no name: .gz, .xz and .zst are decompressed, and UTF-16 and UTF-32 with a
byte-order mark become UTF-8. Archives and documents are refused by name.
"""

import codecs
import gzip
import io
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from common.errors import InputError
from common.files import COMPRESSED, STANDARD_INPUT, expand

DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
"""Exceptions that reading a damaged .gz or .xz file raises."""
READ_BYTES = 1 << 16
_PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins like the mark of UTF-16, so it comes first
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"BZh91AY&SY": "a .bz2 file",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive",
    b"Rar!\x1a\x07": "a .rar archive",
    b"%PDF-": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old office document",
    b"PAR1\x15": "a Parquet file",
    b"SQLite format 3\0": "a database",
}
_read_before: set[object] = set()
"""Standard input, and device and number of each pipe, that were opened since the command started."""


def begin_reading() -> None:
    """Forget which pipes were opened. A command calls this function when it starts."""
    _read_before.clear()


def input_name(file: Path) -> str:
    """Return the name of a text for messages."""
    return "standard input" if file == STANDARD_INPUT else str(file)


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file, a pipe or standard input (`-`) for reading, and decompress .gz, .xz and .zst.

    Raises FileNotFoundError if there is no such file, and InputError if it is a folder or a device, or a pipe that was
    opened before.
    """
    return io.BufferedReader(_open_unpacked(file))


def open_utf8(file: Path) -> IO[bytes]:
    """Open a text as UTF-8, without a byte-order mark. Reading raises UnicodeDecodeError for wrong UTF-16 or UTF-32.

    Raises as `open_bytes`, and InputError if the content is an archive or a document.
    """
    content = _open_unpacked(file)
    if kind := content.first(_NO_TEXT):
        content.close()
        raise InputError(f"{input_name(file)} is {kind}, not a text. Give the text in it as a UTF-8 file")
    mark = content.first(_MARKS)
    content.skip(len(next((bom for bom, encoding in _MARKS.items() if encoding == mark), b"")))
    return io.BufferedReader(content if mark in (None, "utf-8") else _Utf8(content, mark))


def check_rereadable(file: Path) -> None:
    """Raise InputError if a text is a pipe or standard input, which can be read only once."""
    if file == STANDARD_INPUT or (file.exists() and not file.is_file() and not file.is_dir()):
        raise InputError(
            f"{input_name(file)} is not a file, and this text is read more than once. Save it to a file first"
        )


class _Stream(io.RawIOBase):
    """A stream whose first bytes can be looked at. It waits for no more bytes than it needs."""

    def __init__(self, source: Any, *below: Any) -> None:
        self._source = source
        self._below = below
        """Streams that are closed with this one."""
        self._head = b""

    def first(self, kinds: dict[bytes, str]) -> str | None:
        """Return the kind whose mark the stream begins with, None if there is none."""
        while any(mark.startswith(self._head) and mark != self._head for mark in kinds):
            more = self._source.read1(READ_BYTES)
            if not more:
                break
            self._head += more
        return next((kind for mark, kind in kinds.items() if self._head.startswith(mark)), None)

    def skip(self, count: int) -> None:
        """Drop the first bytes, which `first` has found."""
        self._head = self._head[count:]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read1(self, size: int) -> bytes:
        """Return at most `size` bytes, and none only at the end."""
        if not self._head:
            return cast(bytes, self._source.read1(size))
        data, self._head = self._head[:size], self._head[size:]
        return data

    def close(self) -> None:
        for stream in (self._source, *self._below) if not self.closed else ():
            stream.close()
        super().close()


class _Utf8(io.RawIOBase):
    """A stream of UTF-16 or UTF-32, as UTF-8."""

    def __init__(self, source: _Stream, encoding: str) -> None:
        self._source = source
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._error: UnicodeDecodeError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b"to read"
        while data and not self._ready and self._error is None:
            data = self._source.read1(READ_BYTES)
            self._ready = self._decode(data).encode()
        if self._error is not None and not self._ready:
            raise self._error
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decode(self, data: bytes) -> str:
        """Return the text up to a wrong code, whose error is raised after that text is read."""
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            self._error = error
            return error.object[: error.start].decode(self._encoding)

    def close(self) -> None:
        self._source.close()
        super().close()


def _open_unpacked(file: Path) -> _Stream:
    stored = _Stream(_open_stored(file))
    kind = stored.first(_PACKED) or (file.suffix if file.suffix in COMPRESSED else None)
    return stored if kind is None else _Stream(_unpack(io.BufferedReader(stored, READ_BYTES), kind), stored)


def _unpack(stored: IO[bytes], kind: str) -> IO[bytes]:
    match kind:
        case ".gz":
            return cast("IO[bytes]", gzip.open(stored))
        case ".xz":
            return lzma.open(stored)
        case _:
            import pyarrow  # slow import; Python has no zstd before 3.14

            return cast("IO[bytes]", io.BufferedReader(pyarrow.input_stream(stored, compression="zstd")))


def _open_stored(file: Path) -> IO[bytes]:
    if file == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input is closed, so no text can be read from it. Give a file")
        _refuse_second_reading([STANDARD_INPUT, *_pipe(sys.stdin.fileno())], file)
        return cast("IO[bytes]", open(sys.stdin.fileno(), "rb", closefd=False))
    file = expand(file)
    if file.is_dir():
        raise InputError(f"{file} is a folder. Give a file in it")
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file} (looked in {Path.cwd()})")
    _refuse_device(file)
    stored = file.open("rb")
    _refuse_second_reading(_pipe(stored.fileno()), file)
    return stored


def _pipe(descriptor: int) -> list[object]:
    """Return what identifies an open pipe, socket or terminal; an empty list for a file."""
    status = os.fstat(descriptor)
    return [] if stat.S_ISREG(status.st_mode) else [(status.st_dev, status.st_ino)]


def _refuse_second_reading(streams: Iterable[object], file: Path) -> None:
    for stream in streams:
        if stream in _read_before:
            raise InputError(
                f"{input_name(file)} was read before, and its text can be read only once. Save it to a file first"
            )
        _read_before.add(stream)


def _refuse_device(file: Path) -> None:
    """Raise InputError for a device such as /dev/zero, which has no end. A terminal and an empty device are read."""
    mode = file.stat().st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) or file.samefile(os.devnull):
        return
    with file.open("rb") as device:
        if not device.isatty():
            raise InputError(f"{file} is a device, not a text. Give a file")
