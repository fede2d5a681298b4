"""common/text_input.py and common/input_bytes.py: encodings, compression, pipes, long lines, and what is no text."""

import gzip
import lzma
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import InputError
from common.files import STANDARD_INPUT, open_output
from common.input_bytes import begin_reading, check_rereadable
from common.text_input import (
    MAX_LINE,
    PART,
    check_equal_lines,
    read_all_lines,
    read_line_groups,
    read_lines,
    read_text,
    read_whole_text,
)

LINES = ["über", "", " a\tb ", "字 und 😀", "NA"]
TEXT = "".join(f"{line}\n" for line in LINES)


@pytest.fixture(autouse=True)
def new_command() -> None:
    begin_reading()


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.xz", "a.txt.zst"])
def test_read_lines_returns_what_open_output_wrote(name: str, tmp_path: Path) -> None:
    lines = ["über", "", " a\tb ", "line separator \u2028 inside", "NA"]
    with open_output(tmp_path / name) as out:
        out.write("".join(f"{line}\n" for line in lines))
    assert list(read_lines(tmp_path / name)) == lines
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_read_lines_removes_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffeins\r\nzwei\rdrei\n\ufeffvier".encode())
    assert list(read_lines(tmp_path / "a")) == ["eins", "zwei\rdrei", "\ufeffvier"]
    assert "".join(read_text(tmp_path / "a")) == "eins\nzwei\rdrei\n\ufeffvier"


def test_read_lines_names_file_and_line_of_wrong_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(InputError, match=r"a, line 2: byte 0xe4 is not UTF-8"):
        list(read_lines(tmp_path / "a"))


@pytest.mark.parametrize("name", ["a.gz", "a.xz", "a.zst"])
@pytest.mark.parametrize("damage", ["truncated", "not compressed"])
def test_read_lines_rejects_damaged_archive(name: str, damage: str, tmp_path: Path) -> None:
    file = tmp_path / name
    with open_output(file) as out:
        out.write("".join(f"{i * 7919}\n" for i in range(100_000)))
    file.write_bytes(file.read_bytes()[:-1000] if damage == "truncated" else b"plain text\n")
    with pytest.raises(InputError, match="is damaged after line"):
        list(read_lines(file))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_read_lines_recognises_encoding_and_compression_by_content(encoding: str, pack: object, tmp_path: Path) -> None:
    text = TEXT if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff" + TEXT
    (tmp_path / "a").write_bytes(pack(text.replace("\n", "\r\n").encode(encoding)))  # type: ignore[operator]
    assert list(read_lines(tmp_path / "a")) == LINES
    assert "".join(read_text(tmp_path / "a")) == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb".encode("utf-16-le"), "is not UTF-8 text: many of its bytes are zero. If it is UTF-16"),
        ("a\nb".encode("utf-16-be"), "iconv -f UTF-16LE -t UTF-8"),
        (b"\xff\xfea\0\n\0\x00\xd8a\0", "line 2: not UTF-16-LE: repair the line"),
        (b"\xff\xfea\0\n\0b", "line 2: not UTF-16-LE: repair the line"),
        ("字字\n和".encode("utf-16-le"), r"line \d: byte 0x.. is not UTF-8: .* is the file UTF-16"),
        (b"PK\x03\x04\x14", "is a ZIP archive or an office document, not a text"),
        (b"%PDF-1.4\n", "is a PDF document"),
        (b"a.en".ljust(257, b"\0") + b"ustar".ljust(300, b"x"), "is a tar archive"),
        (b"one\rtwo\rthree\r", "its lines end as on old Macs"),
        (b"\0" * 100, "many of its bytes are zero"),
    ],
)
def test_read_lines_rejects_content_that_is_not_utf8_text(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_lines(tmp_path / "a"))


def test_read_line_groups_yields_lines_before_wrong_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\nthr\xffee\nfour\n")
    groups = read_line_groups(tmp_path / "a")
    assert next(groups) == ["one", "two"]
    with pytest.raises(InputError, match="line 3: byte 0xff"):
        next(groups)


@pytest.mark.parametrize("before", [b"", b"\n" * 7])
def test_read_lines_rejects_line_above_limit_by_number(before: bytes, tmp_path: Path) -> None:
    line = b"x" * (MAX_LINE - 1)
    (tmp_path / "a").write_bytes(before + line + b"\n" + line)
    assert sum(map(len, read_lines(tmp_path / "a"))) == 2 * len(line)
    (tmp_path / "a.gz").write_bytes(gzip.compress(before + b"x" * (MAX_LINE + 100_000), 1))
    with pytest.raises(InputError, match=rf"a\.gz, line {len(before) + 1} is longer than 8 MiB"):
        list(read_lines(tmp_path / "a.gz"))


@pytest.mark.parametrize("word", ["word ", "字", "a\r", "   b"])
def test_read_text_divides_long_line_and_loses_no_character(word: str, tmp_path: Path) -> None:
    text = "short\n" + word * (3 * PART // len(word)) + "\nend"
    (tmp_path / "a").write_bytes(text.encode())
    parts = list(read_text(tmp_path / "a"))
    assert "".join(parts) == text.replace("\r\n", "\n")
    assert max(len(part.encode()) for part in parts) < 2 * PART
    if word == "word ":
        assert all(part.startswith(" word") for part in parts[2:-1])


def test_read_all_lines_rejects_text_that_takes_too_much_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a\n" * 30_000)
    assert len(read_all_lines(tmp_path / "a")) == 30_000
    monkeypatch.setattr("common.text_input.MAX_TEXT", 1 << 20)
    with pytest.raises(InputError, match=r"too large to be read at once: .* of its lines take more than 1 MiB"):
        read_all_lines(tmp_path / "a")


def test_read_whole_text_rejects_text_above_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc\n")
    assert read_whole_text(tmp_path / "a", 4) == "abc\n"
    with pytest.raises(InputError, match="has more than 3 characters"):
        read_whole_text(tmp_path / "a", 3)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe with text, by the name that bash gives `<(…)`."""
    out, into = os.pipe()
    os.write(into, TEXT.encode())
    os.close(into)
    yield Path(f"/dev/fd/{out}")
    os.close(out)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_read_lines_reads_pipe_once(pipe: Path) -> None:
    assert list(read_lines(pipe)) == LINES
    with pytest.raises(InputError, match="was read before, and its text can be read only once"):
        list(read_lines(pipe))


def test_check_rereadable_rejects_pipe_and_standard_input(pipe: Path, tmp_path: Path) -> None:
    check_rereadable(tmp_path)
    for file in (pipe, STANDARD_INPUT):
        with pytest.raises(InputError, match="is not a file, and this text is read more than once"):
            check_rereadable(file)


def test_read_lines_reads_standard_input_once(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe.open() as text:
        monkeypatch.setattr(sys, "stdin", text)
        assert list(read_lines(STANDARD_INPUT)) == LINES
        with pytest.raises(InputError, match="standard input was read before"):
            list(read_lines(STANDARD_INPUT))


def test_read_lines_rejects_closed_input_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for file, message in [
        (STANDARD_INPUT, "standard input is closed"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "is a device"),
    ]:
        with pytest.raises(InputError, match=message):
            list(read_lines(file))
    assert list(read_lines(Path(os.devnull))) == []
    with pytest.raises(FileNotFoundError, match="there is no file"):
        list(read_lines(tmp_path / "no"))


def test_check_equal_lines_names_both_files() -> None:
    check_equal_lines("a", 3, "b", 3)
    with pytest.raises(InputError, match="a has 3 lines and b has 4"):
        check_equal_lines("a", 3, "b", 4)


def test_read_lines_reads_multi_member_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert list(read_lines(tmp_path / "a.gz")) == ["one", "two"]
