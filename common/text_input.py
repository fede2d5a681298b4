"""Text input: the one way to read each text that a command or the Python API takes.

A text is a file, a pipe such as `<(zcat a.gz)`, or standard input, named `-`; see `input_bytes` for what it may be
stored as. It is UTF-8 whatever the locale is. A line ends at "\\n" and nowhere else; "\\r" before it is removed. A line
has at most `MAX_LINE` bytes, so that a file of any size is read in little memory.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from common.errors import InputError
from common.input_bytes import DAMAGED, READ_BYTES, input_name, open_utf8

Line = TypeVar("Line")
MAX_LINE = 8 << 20
"""Largest number of bytes in a line: more than a long novel has."""
GROUP_LINES = 50_000
"""Largest number of lines in a group of `group_lines`."""
GROUP_CHARACTERS = 4 << 20
"""Number of characters after which a group of `group_lines` ends."""
MAX_TEXT = 384 << 20
"""Largest memory in bytes for the lines of a text that must be in memory at once."""
POINTER = 8
"""Bytes of a list for each of its items."""
PART = 1 << 20
"""Bytes after which `read_text` divides a line."""
SAMPLE = 4096
"""Bytes at the start of a text that show if it is one."""


def read_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a text without their line ends ("\\n" or "\\r\\n") and without a byte-order mark.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: a line is longer than `MAX_LINE` or not UTF-8, a compressed file is damaged, or the file is no text,
            with the number of the line.
    """
    return (line for lines in read_line_groups(file) for line in lines)


def read_line_groups(file: Path) -> Iterator[list[str]]:
    """Yield the lines in groups, as soon as they arrive. Raises as `read_lines`, after yielding the lines before."""
    for block in _read_blocks(file, None):
        yield [line.removesuffix("\r") for line in block.removesuffix("\n").split("\n")]


def group_lines(lines: Iterable[Line], size: Callable[[Line], int], most: int = GROUP_LINES) -> Iterator[list[Line]]:
    """Yield lines in groups that fit in memory: of `most` lines, or fewer if these have `GROUP_CHARACTERS`.

    Args:
        size: number of characters of a line, or of what is given instead of a line.
    """
    group: list[Line] = []
    characters = 0
    for line in lines:
        group.append(line)
        characters += size(line)
        if len(group) == most or characters >= GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def read_all_lines(file: Path) -> list[str]:
    """Return all lines of a text that must be in memory at once.

    Raises as `read_lines`, and InputError if the lines take more than `MAX_TEXT` bytes of memory.
    """
    lines: list[str] = []
    size = 0
    for group in read_line_groups(file):
        lines += group
        size += sum(map(sys.getsizeof, group)) + POINTER * len(group)
        check_fits(input_name(file), len(lines), size)
    return lines


def check_fits(name: str, lines: int, size: int) -> None:
    """Raise InputError if the lines of a text take more memory than `MAX_TEXT`; `size` is in bytes."""
    if size > MAX_TEXT:
        raise InputError(
            f"{name} is too large to be read at once: {lines:,} of its lines take more than {MAX_TEXT >> 20} MiB of "
            "memory. Divide it into smaller files"
        )


def read_text(file: Path) -> Iterator[str]:
    """Yield the text line by line, with line ends; "\\r\\n" becomes "\\n". A line of more than `PART` bytes is divided.

    It is divided before a space if possible. Raises as `read_lines`, but for no long line.
    """
    for block in _read_blocks(file, PART):
        *complete, rest = block.replace("\r\n", "\n").split("\n")
        yield from (line + "\n" for line in complete)
        if rest:
            yield rest


def read_whole_text(file: Path, limit: int = MAX_LINE) -> str:
    """Return a text as `read_text` yields it. Raises InputError if it has more than `limit` characters."""
    parts: list[str] = []
    size = 0
    for part in read_text(file):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise InputError(f"{input_name(file)} has more than {limit:,} characters. Give a shorter text")
    return "".join(parts)


def check_equal_lines(first: str | Path, first_lines: int, second: str | Path, second_lines: int) -> None:
    """Raise InputError if two parallel files have different numbers of lines."""
    if first_lines != second_lines:
        raise InputError(
            f"{first} has {first_lines} lines and {second} has {second_lines}: parallel text needs the same number. "
            "Check that line n of one file is the translation of line n of the other"
        )


def _read_blocks(file: Path, part: int | None) -> Iterator[str]:
    """Yield blocks of complete lines with their line ends; the last line may have none.

    With `part`, a line of more bytes than that is divided between blocks. Otherwise a line longer than `MAX_LINE`
    raises InputError.
    """
    number = 0
    try:
        for data in _complete_lines(file, part):
            good, error = _decode(data)
            if good:
                yield good
                number += good.count("\n")
            if error is not None:
                raise _wrong_bytes(file, number + 1, error)
    except UnicodeDecodeError as error:  # of UTF-16
        raise InputError(
            f"{input_name(file)}, line {number + 1}: not {error.encoding.upper()}: repair the line"
        ) from error
    except DAMAGED as error:
        raise InputError(f"{input_name(file)} is damaged after line {number} ({error})") from error
    except OSError as error:
        if error.errno is None and not isinstance(error, FileNotFoundError):  # pyarrow's error for a damaged .zst
            raise InputError(f"{input_name(file)} is damaged after line {number} ({error})") from error
        raise


def _complete_lines(file: Path, part: int | None) -> Iterator[bytes]:
    """Yield bytes that end where a line ends, except at the end of the file and where a long line is divided."""
    number = size = 0
    waiting: list[bytes] = []
    with open_utf8(file) as text:
        while data := text.read1(READ_BYTES):  # type: ignore[attr-defined]
            if not number and not waiting:
                _refuse_binary(file, data[:SAMPLE])
            end = data.rfind(b"\n") + 1
            if end:
                yield b"".join([*waiting, data[:end]])
                number += data.count(b"\n")
                waiting, size = [], 0
            waiting.append(data[end:])
            size += len(data) - end
            if size > (part or MAX_LINE):
                if part is None:
                    raise InputError(
                        f"{input_name(file)}, line {number + 1} is longer than {MAX_LINE >> 20} MiB, the "
                        "largest length of a line. Divide it into lines"
                    )
                head, rest = _divide(b"".join(waiting))
                yield head
                waiting, size = [rest], len(rest)
    if rest := b"".join(waiting):
        if not number and b"\r" in rest.rstrip(b"\r"):
            raise InputError(
                f"{input_name(file)} has carriage returns but no line break: its lines end as on old Macs. Convert "
                "the line ends to \\n"
            )
        yield rest


def _divide(line: bytes) -> tuple[bytes, bytes]:
    """Return the beginning of a line and the rest, which begins with a space if the line has one."""
    at = line.rfind(b" ", 1)
    while at > 0 and line[at - 1 : at] == b" ":
        at -= 1
    if at <= 0:  # before the first byte of a character
        ends = range(len(line) - 1, 0, -1)
        at = next((i for i in ends if line[i] & 0xC0 != 0x80 and line[i - 1 : i] != b"\r"), len(line))
    return line[:at], line[at:]


def _decode(data: bytes) -> tuple[str, UnicodeDecodeError | None]:
    """Return the text, or the lines before the first byte that is not UTF-8, and the error of that byte's line."""
    try:
        return data.decode(), None
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        return data[:start].decode(), error


def _wrong_bytes(file: Path, number: int, error: UnicodeDecodeError) -> InputError:
    byte = error.object[error.start]
    hint = " (or is the file UTF-16?)" if b"\0" in error.object[:SAMPLE] else ""
    return InputError(
        f"{input_name(file)}, line {number}: byte 0x{byte:02x} is not UTF-8: convert the file or repair the line{hint}"
    )


def _refuse_binary(file: Path, sample: bytes) -> None:
    """Raise InputError if the first bytes of a file are an archive, UTF-16 without a byte-order mark, or no text."""
    if sample[257:262] == b"ustar":
        raise InputError(f"{input_name(file)} is a tar archive, not a text. Unpack it and give the text in it")
    if sample.count(0) > len(sample) // 4:
        raise InputError(
            f"{input_name(file)} is not UTF-8 text: many of its bytes are zero. If it is UTF-16, "
            "convert it: iconv -f UTF-16LE -t UTF-8"
        )
