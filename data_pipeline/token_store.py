"""Token ids on disk: memory-mapped arrays of ids, of offsets and of lengths.

Processes of one machine that map the same file share its memory.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

AT_ONCE = 1 << 20
"""Lengths in memory at once."""


class TokenStore:
    """Sequences of token ids, memory-mapped: only the parts that are used are read from disk.

    Args:
        stem: path of the files without `.ids.npy`, `.offsets.npy` and `.lengths.npy`. The ids are uint8 or uint16 if
            the vocabulary allows it, otherwise int32.

    Raises:
        FileNotFoundError: a file is missing.
    """

    def __init__(self, stem: Path | str) -> None:
        self.stem = Path(stem)
        ids_file, offsets_file, self._lengths_file = _files(self.stem)
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
    def lengths(self) -> npt.NDArray[np.integer]:
        """Number of tokens of each sequence, EOS included, in the smallest type that has the longest one."""
        if self._lengths_file.exists():
            return _map(self._lengths_file)
        return np.diff(self._offsets).astype(np.int32)  # older versions wrote no lengths

    def __reduce__(self) -> tuple[Callable[..., "TokenStore"], tuple[Path]]:
        # Pickling a memory map would copy the whole array. Another process opens the files again instead.
        return TokenStore, (self.stem,)


class TokenStoreWriter:
    """Writes the files of a `TokenStore`. Its memory does not grow with the number of sequences.

    The files are complete when the `with` block has ended without an exception.
    """

    def __init__(self, stem: Path, vocab_size: int) -> None:
        ids_file, self._offsets_file, self._lengths_file = _files(stem)
        self._ids = _ArrayWriter(ids_file, smallest_type(vocab_size - 1))
        self._offsets = _ArrayWriter(self._offsets_file, np.dtype(np.int64))
        self._offsets.append(np.zeros(1, np.int64))
        self._longest = 0

    def append(self, sequences: Iterable[list[int]]) -> None:
        """Append sequences of ids."""
        chunk = list(sequences)
        lengths = np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk))
        self.append_flat(np.fromiter(chain.from_iterable(chunk), np.int64, count=int(lengths.sum())), lengths)

    def append_flat(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> None:
        """Append sequences of ids, given one after the other, and their lengths."""
        self._offsets.append(self._ids.size + lengths.cumsum(dtype=np.int64))
        self._ids.append(ids)
        self._longest = max(self._longest, int(lengths.max(initial=0)))

    def __enter__(self) -> "TokenStoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ids.out, self._offsets.out:
            if error is None:
                self._ids.finish()
                self._offsets.finish()
        if error is None:
            self._write_lengths()

    def _write_lengths(self) -> None:
        offsets = np.load(self._offsets_file, mmap_mode="r")
        lengths = _ArrayWriter(self._lengths_file, smallest_type(self._longest))
        with lengths.out:
            for start in range(0, len(offsets) - 1, AT_ONCE):
                lengths.append(np.diff(offsets[start : start + AT_ONCE + 1]))
            lengths.finish()


class _ArrayWriter:
    """Writes a `.npy` file of one axis that grows with each `append`."""

    def __init__(self, file: Path, dtype: np.dtype) -> None:
        self.out, self.dtype, self.size = file.open("wb"), dtype, 0
        self._write_header()

    def append(self, values: npt.NDArray[np.integer]) -> None:
        # not `tofile` or `np.save`: their errors do not say that the disk is full
        self.out.write(np.ascontiguousarray(values, self.dtype).data)
        self.size += len(values)

    def finish(self) -> None:
        end = self.out.tell()
        self.out.seek(0)
        self._write_header()
        assert end == self.out.tell() + self.size * self.dtype.itemsize, "header and content disagree"

    def _write_header(self) -> None:
        # NumPy pads the header, so its size stays the same if the first axis grows.
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self.out, header)


def smallest_type(largest: int) -> np.dtype:
    """Return uint8 or uint16 if the numbers from 0 to `largest` fit in it, otherwise int32."""
    if largest < 2**8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if largest < 2**16 else np.int32)


def _files(stem: Path) -> tuple[Path, Path, Path]:
    ids, offsets, lengths = (stem.with_name(f"{stem.name}.{kind}.npy") for kind in ("ids", "offsets", "lengths"))
    return ids, offsets, lengths


def _map(file: Path) -> npt.NDArray[np.integer]:
    # An empty array cannot be mapped. 128 bytes are the size of the header.
    ids: npt.NDArray[np.integer] = np.load(file, mmap_mode="r" if file.stat().st_size > 128 else None)
    return ids
