"""Token ids on disk: one flat memory-mapped array of ids and one of offsets for each side of a corpus."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt


class IdArray:
    """Sentences of token ids, read from the disk only where they are touched.

    `stem` is the path without `.ids.npy` and `.offsets.npy`. The ids are uint8 or uint16 where the
    vocabulary allows it, otherwise int32. Raises FileNotFoundError where the files are missing.
    """

    def __init__(self, stem: Path | str) -> None:
        self.stem = Path(stem)
        ids_file, offsets_file = _files(self.stem)
        self._offsets = np.load(offsets_file, mmap_mode="r")
        self._ids = _map(ids_file)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.integer]:
        """The ids of one sentence, EOS last (a read-only view)."""
        if not 0 <= index < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        return self._ids[int(self._offsets[index]) : int(self._offsets[index + 1])]

    def table(self, rows: npt.NDArray[np.integer], width: int, filler: int) -> npt.NDArray[np.int64]:
        """The sentences of these rows, (rows, width), with `filler` behind each; a negative row is empty.

        No sentence may be longer than `width`.
        """
        present = rows >= 0
        first = np.where(present, self._offsets[rows], 0)  # of a negative row some number, which is not used
        length = np.where(present, self._offsets[rows + 1] - first, 0)
        assert length.max(initial=0) <= width
        columns = np.arange(width)
        inside = columns < length[:, None]
        at = np.minimum(first[:, None] + columns, max(0, len(self._ids) - 1))
        return np.where(inside, self._ids[at].astype(np.int64), filler)

    @property
    def flat(self) -> npt.NDArray[np.integer]:
        """The ids of all sentences, one after the other (read-only)."""
        return self._ids

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each sentence, EOS included."""
        return np.diff(self._offsets).astype(np.int32)

    def __reduce__(self) -> tuple[Callable[..., "IdArray"], tuple[Path]]:
        # A pickled memory map would be copied whole; a worker process opens the files itself.
        return IdArray, (self.stem,)


@dataclass(frozen=True)
class ParallelIds:
    """The two sides of a corpus; row i of one translates row i of the other."""

    src: IdArray
    tgt: IdArray

    @classmethod
    def open(cls, folder: Path, name: str) -> "ParallelIds":
        """The arrays that two `IdWriter`s left at `folder/name.src` and `folder/name.tgt`."""
        return cls(IdArray(folder / f"{name}.src"), IdArray(folder / f"{name}.tgt"))

    def __len__(self) -> int:
        return len(self.src)


@dataclass(frozen=True)
class TextIds:
    """Running text: the ids of its documents, and which of them are predicted."""

    ids: IdArray
    predicted: IdArray | None
    """1 where a token is predicted, 0 where it is given; None where every token is predicted."""

    @classmethod
    def open(cls, folder: Path, name: str) -> "TextIds":
        """The arrays that `IdWriter`s left at `folder/name` and, where some tokens are given, `name.predicted`."""
        mask = folder / f"{name}.predicted"
        return cls(IdArray(folder / name), IdArray(mask) if _files(mask)[0].exists() else None)


class IdWriter:
    """Appends sentences of ids to the two files of an `IdArray`; only their lengths stay in memory.

    The files are complete once the `with` block has ended without an exception.
    """

    def __init__(self, stem: Path, vocab_size: int) -> None:
        ids_file, self._offsets_file = _files(stem)
        small = np.uint8 if vocab_size <= 2**8 else np.uint16
        self._dtype = np.dtype(small if vocab_size <= 2**16 else np.int32)
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._out = ids_file.open("wb")
        _write_header(self._out, self._dtype, 0)

    def append(self, sentences: Iterable[list[int]]) -> None:
        """Adds sentences, each a list of ids in the order of the array."""
        chunk = list(sentences)
        lengths = np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk))
        self._lengths.append(lengths)
        ids = np.fromiter(chain.from_iterable(chunk), dtype=self._dtype, count=int(lengths.sum()))
        self._out.write(ids.data)  # not `tofile` or `np.save`, which hide the reason when the disk is full

    def __enter__(self) -> "IdWriter":
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
    # An array of no elements cannot be mapped.
    ids: npt.NDArray[np.integer] = np.load(file, mmap_mode="r" if file.stat().st_size > 128 else None)
    return ids


def _write_header(out: IO[bytes], dtype: np.dtype, length: int) -> None:
    # NumPy pads the header so that it keeps its size while the first axis grows.
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(out, header)
