"""Token ids on disk: one flat memory-mapped array of ids and one of offsets."""

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt


class TokenStore:
    """Sequences of token ids, memory-mapped: only the parts that are used are read from disk.

    Args:
        stem: path of the two files without `.ids.npy` and `.offsets.npy`. The ids are uint8 or uint16 if the
            vocabulary allows it, otherwise int32.

    Raises:
        FileNotFoundError: a file is missing.
    """

    def __init__(self, stem: Path | str) -> None:
        self.stem = Path(stem)
        ids_file, offsets_file = _files(self.stem)
        self._offsets = np.load(offsets_file, mmap_mode="r")
        self._ids = _map(ids_file)

    @classmethod
    def open_if_present(cls, stem: Path) -> "TokenStore | None":
        """Open a token store. Return None if its files do not exist."""
        return cls(stem) if _files(stem)[0].exists() else None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.integer]:
        """Return a read-only view of the ids of one sequence, EOS included."""
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        return self._ids[int(self._offsets[index]) : int(self._offsets[index + 1])]

    def table(self, indices: npt.NDArray[np.integer], width: int, padding: int) -> npt.NDArray[np.int64]:
        """Return the sequences with these indices, (indices, width), each followed by `padding`.

        The row of a negative index contains only `padding`. No sequence may be longer than `width`.
        """
        present = indices >= 0
        first = np.where(present, self._offsets[indices], 0)  # the value for a negative index is not used
        length = np.where(present, self._offsets[indices + 1] - first, 0)
        assert length.max(initial=0) <= width
        columns = np.arange(width)
        inside = columns < length[:, None]
        at = np.minimum(first[:, None] + columns, max(0, len(self._ids) - 1))
        return np.where(inside, self._ids[at].astype(np.int64), padding)

    @property
    def flat(self) -> npt.NDArray[np.integer]:
        """Ids of all sequences, one after the other (read-only)."""
        return self._ids

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Number of tokens of each sequence, EOS included."""
        return np.diff(self._offsets).astype(np.int32)

    def __reduce__(self) -> tuple[Callable[..., "TokenStore"], tuple[Path]]:
        # Pickling a memory map would copy the whole array. Another process opens the files again instead.
        return TokenStore, (self.stem,)


class TokenStoreWriter:
    """Writes the two files of a `TokenStore`. Only the lengths of the sequences stay in memory.

    The files are complete when the `with` block has ended without an exception.
    """

    def __init__(self, stem: Path, vocab_size: int) -> None:
        ids_file, self._offsets_file = _files(stem)
        small = np.uint8 if vocab_size <= 2**8 else np.uint16
        self._dtype = np.dtype(small if vocab_size <= 2**16 else np.int32)
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._out = ids_file.open("wb")
        _write_header(self._out, self._dtype, 0)

    def append(self, sequences: Iterable[list[int]]) -> None:
        """Append sequences of ids."""
        chunk = list(sequences)
        lengths = np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk))
        self._lengths.append(lengths)
        ids = np.fromiter(chain.from_iterable(chunk), dtype=self._dtype, count=int(lengths.sum()))
        self._out.write(ids.data)  # not `tofile` or `np.save`: their errors do not say that the disk is full

    def __enter__(self) -> "TokenStoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._out:
            if error is None:
                self._finish()

    def _finish(self) -> None:
        offsets = np.concatenate([np.zeros(1, np.int64), *self._lengths]).cumsum()
        end = self._out.tell()
        self._out.seek(0)
        _write_header(self._out, self._dtype, int(offsets[-1]))
        assert end == self._out.tell() + int(offsets[-1]) * self._dtype.itemsize, "ids and offsets disagree"
        with self._offsets_file.open("wb") as out:
            _write_header(out, offsets.dtype, len(offsets))
            out.write(offsets.data)


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(stem.name + ".ids.npy"), stem.with_name(stem.name + ".offsets.npy")


def _map(file: Path) -> npt.NDArray[np.integer]:
    # An empty array cannot be mapped. 128 bytes are the size of the header.
    ids: npt.NDArray[np.integer] = np.load(file, mmap_mode="r" if file.stat().st_size > 128 else None)
    return ids


def _write_header(out: IO[bytes], dtype: np.dtype, length: int) -> None:
    # NumPy pads the header, so its size stays the same if the first axis grows.
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(out, header)
