"""Files: UTF-8 text in and out, compressed files, atomic writes, locks, paths as users type them.

Text is UTF-8 whatever the locale is. A line ends at "\\n" and nowhere else.
"""

import errno
import glob
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from filelock import FileLock, Timeout

from common.errors import InputError, first_line

COMPRESSED = (".gz", ".xz", ".zst")
"""Suffixes of compressed files. They are read and written transparently."""
STANDARD_INPUT = Path("-")
"""Name of standard input where a file is read, and of standard output where one is written."""
SMALL_BYTES = 1 << 28
"""Size of the largest file that is read at once: a report on a million sentences is smaller."""
LOCK_TIMEOUT = 60.0
"""Seconds that a command waits for a folder that another process has locked."""


def expand(path: str | Path) -> Path:
    """Return the path with a leading `~` replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def find_files(pattern: str | Path) -> list[Path]:
    """Return the files that a path or a glob pattern names, sorted; for a pipe or standard input (`-`) the path.

    A path that exists is taken literally, also if its name contains brackets. Below an existing folder, only the
    rest of the pattern is expanded. Raises FileNotFoundError if there is no such file.
    """
    path = expand(pattern)
    if is_input(path):
        return [path]
    files = sorted(Path(found) for found in glob.glob(_escape_folders(path), recursive=True))  # noqa: PTH207
    files = [file for file in files if file.is_file()]
    if not files:
        raise FileNotFoundError(f"there is no file {pattern} (looked in {Path.cwd()})")
    return files


def is_input(path: Path) -> bool:
    """Return True if a path names something that can be read: a file, a pipe, a device, or standard input (`-`)."""
    return path == STANDARD_INPUT or (path.exists() and not path.is_dir())


def _escape_folders(path: Path) -> str:
    """Return a glob pattern in which the longest existing folder of `path` is taken literally."""
    for folder in path.parents:
        if folder.is_dir():
            return str(Path(glob.escape(str(folder))) / path.relative_to(folder))
    return str(path)


def plain_suffix(path: str | Path) -> str:
    """Return the suffix of a file name without the suffix of its compression: `.tsv` for `a.tsv.gz`."""
    name = Path(path)
    return (name.with_suffix("") if name.suffix in COMPRESSED else name).suffix


def _open_for_writing(file: Path, compression: str) -> TextIO:
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "newline": "\n"}
    match compression:
        case ".gz":
            return cast(TextIO, gzip.open(file, "wt", **options))
        case ".xz":
            return cast(TextIO, lzma.open(file, "wt", **options))
        case ".zst":
            import pyarrow  # slow import; Python has no zstd before 3.14

            return io.TextIOWrapper(pyarrow.output_stream(str(file), compression="zstd"), **options)
        case _:
            return file.open("w", **options)


def read_small(file: Path) -> bytes:
    """Return the content of a file that is read at once. Raises InputError, before reading, if it has over 256 MiB.

    A file of a model folder or a run folder may be from anybody, and a sparse file of any size needs no disk.
    """
    if file.exists() and not file.is_file():  # a pipe or a device would block
        raise InputError(f"{file} is not a file")
    if file.stat().st_size > SMALL_BYTES:
        raise InputError(f"{file} has more than {SMALL_BYTES:,} bytes, which no file of this kind has")
    return file.read_bytes()


def read_json(file: Path) -> Any:
    """Return the content of a JSON file. Raises InputError if it is damaged, FileNotFoundError if it is missing."""
    raw = read_small(file)
    try:
        content = json.loads(raw.decode("utf-8"))
        _check_depth(content)
        return content
    except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
        raise InputError(
            f"{file} is damaged: it is not valid JSON ({first_line(error)}). Restore it from a copy"
        ) from error


def _check_depth(content: Any) -> None:
    """Raise RecursionError for lists and objects that are nested deeper than any file of this project."""
    level = [content]
    for _ in range(50):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise RecursionError("lists or objects are nested too deeply")


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with file.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an exception, it replaces `path`.

    The file is flushed to the disk before the replacement, and the folder after it: a crash leaves the old file or
    the new one. The temporary name is always the same, so a file that a killed process left is removed. So is a link:
    it is not followed, because the folder may be from somebody else.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        _create_file(temporary)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _create_file(path: Path) -> None:
    path.unlink(missing_ok=True)
    no_follow = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | no_follow, 0o666))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; see `replace_file`."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically; see `replace_file`."""
    write_bytes(path, text.encode("utf-8"))


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 file. Raises OSError if it is a symbolic link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def reject_links(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError if one of these files or folders in `folder` is a symbolic link or contains one.

    Files are written, read and deleted below these names, and the folder may be from somebody else. `folder` itself
    may be a link, because the user has named it.
    """
    for name in names:
        for link in _links(folder / name):
            raise InputError(
                f"{link} is a symbolic link. {folder} must contain its own files, because commands write and delete "
                "them. Replace the link with a copy of what it points to; the whole folder may be a link"
            )


def _links(path: Path) -> Iterator[Path]:
    found = [path]
    while found:
        path = found.pop()
        if path.is_symlink():
            yield path
        elif path.is_dir():
            found += path.iterdir()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def create_folder(path: Path, temporary_prefix: str = ".") -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; when the block ends without an exception, it is renamed to `path`.

    Its files are flushed to the disk first. The temporary folder is removed if the block raises. If `path` exists by
    then, because another process was faster, that folder stays and the new one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{temporary_prefix}{path.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        for file in (*temporary.iterdir(), temporary):
            sync(file)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def open_output(path: str | Path | None) -> Iterator[TextIO]:
    """Yield standard output (None or `-`), or a text file that appears under its name only when it is complete.

    Names that end in .gz, .xz or .zst are compressed. A device or a pipe is written to directly.
    Raises FileNotFoundError if the folder does not exist.
    """
    if path is None or Path(path) == STANDARD_INPUT:
        yield sys.stdout
        return
    target = expand(path).resolve()  # through a symbolic link, to the file that it names
    if target.exists() and not target.is_file():
        with _full_names(target), target.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
            yield out
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")
    with replace_file(target) as temporary, _open_for_writing(temporary, target.suffix) as out:
        yield out


@contextmanager
def _full_names(device: Path) -> Iterator[None]:
    """Raise InputError with the name of a device if it is full."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            raise InputError(f"{device} is full, so the result cannot be written. Give a file") from error
        raise


def make_folder(folder: Path) -> None:
    """Create a folder and the folders above it. Raises InputError if one of these names is a file or a device."""
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise InputError(f"{path} is not a folder, so {folder} cannot be written. Name another folder")
            break
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def lock(path: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold a lock file while the block runs. It is released when the process ends, however it ends.

    Raises InputError if another process still holds the lock after `timeout` seconds.
    """
    make_folder(path.parent)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print_locked(path.parent, f"waiting up to {timeout:.0f} s" if timeout < float("inf") else "waiting for it")
        try:
            held.acquire(timeout=timeout if timeout < float("inf") else -1, poll_interval=0.2)
        except Timeout as error:
            raise InputError(
                f"another process is working in {path.parent}: wait until it ends, or use another folder"
            ) from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock file as `lock`. Yield False if another process holds it, otherwise True."""
    make_folder(path.parent)
    held = FileLock(path)
    with suppress(Timeout):
        held.acquire(timeout=0)
    try:
        yield held.is_locked
    finally:
        held.release()


def print_locked(folder: Path, doing: str) -> None:
    """Print that another process works in a folder, and what this process does."""
    print(f"{folder} is locked by another process; {doing}", file=sys.stderr, flush=True)
