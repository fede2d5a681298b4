"""Files that are translated: read, translated in jobs of limited size, and kept for a while until they are fetched."""

import codecs
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from evaluate.documents import parse_document
from evaluate.segmentation.placeholders import MaskedText
from evaluate.translator import Translator
from serve.errors import ApiError, invalid
from serve.limits import FILE_JOB, FILE_SECONDS, FILES
from serve.translation import Job

FORMATS = {".txt": "text", ".srt": "srt", ".html": "html", ".htm": "html"}
"""Formats by the end of a file's name."""
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "html": "text/html"}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Document:
    """A text with what is translated of it: plain lines, or the blocks of another format."""

    lines: list[str]
    blocks: list[MaskedText]
    join: Callable[[list[str]], str]
    """Returns the translated document from the translations of the lines or blocks."""

    @classmethod
    def parse(cls, format: str, text: str) -> "Document":
        """Read a text. Raises InputError if it is not in the format."""
        if format == "text":
            return cls(re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text), [], "".join)
        parsed = parse_document(format, text)
        return cls([], parsed.blocks, parsed.join)

    @property
    def visible(self) -> str:
        """The text that is translated."""
        return "\n".join([*self.lines, *(block.visible for block in self.blocks)])

    @property
    def characters(self) -> int:
        """Number of characters that are translated."""
        return sum(map(len, self.lines)) + sum(len(block.text) for block in self.blocks)

    def jobs(self, translator: Translator) -> Iterator[Job]:
        """Yield jobs of a size that lets other requests in between."""
        for lines in _groups(self.lines, len):
            yield Job(translator, tuple(lines))
        for blocks in _groups(self.blocks, lambda block: len(block.text)):
            yield Job(translator, (), blocks=tuple(blocks))


def _groups(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in groups of at most `FILE_JOB` characters, or with one larger item."""
    group: list[Item] = []
    total = 0
    for item in items:
        if group and total + size(item) > FILE_JOB:
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


@dataclass(frozen=True)
class File:
    """A file from a client or for one."""

    name: str
    content: bytes

    @property
    def format(self) -> str:
        """Format by the name. Raises ApiError for another one."""
        format = FORMATS.get(PurePosixPath(self.name).suffix.lower())
        if format is None:
            raise invalid(f"file format not supported; it must be one of {', '.join(FORMATS)}")
        return format

    @property
    def text(self) -> str:
        """Text without a byte-order mark. Raises ApiError if it is not UTF-8, or UTF-16 with a mark."""
        mark = next((mark for mark in _MARKS if self.content.startswith(mark)), b"")
        encoding = _MARKS.get(mark, "utf-8")
        try:
            return self.content[len(mark) :].decode(encoding)
        except UnicodeDecodeError as error:
            raise invalid(f"the file is not {encoding.upper()} at byte {len(mark) + error.start}") from None

    def translated(self, text: str, target: str) -> "File":
        """Return the file with a translation, and with the target language in its name."""
        path = PurePosixPath(self.name.replace("\\", "/"))
        stem = re.sub(r"[^\w.-]+", "_", path.stem).strip("._")[:80] or "file"
        return File(f"{stem}_{target}{path.suffix.lower()}", text.encode("utf-8"))


@dataclass
class FileStore:
    """Translated files in memory, by names that nobody can guess. Old files and too many files are dropped."""

    now: Callable[[], float] = time.monotonic
    _files: dict[str, tuple[float, File]] = field(default_factory=dict)

    def add(self, file: File) -> str:
        """Keep a file; return its name for `find`."""
        self._drop_old()
        while len(self._files) >= FILES:
            del self._files[next(iter(self._files))]
        name = f"{secrets.token_urlsafe(24)}.{file.name}"
        self._files[name] = self.now(), file
        return name

    def find(self, name: str) -> File:
        """Return a file. Raises ApiError if there is none of this name, or no longer."""
        self._drop_old()
        if name not in self._files:
            raise ApiError(404, "There is no such file, or it is too old")
        return self._files[name][1]

    def _drop_old(self) -> None:
        oldest = self.now() - FILE_SECONDS
        self._files = {name: item for name, item in self._files.items() if item[0] > oldest}
