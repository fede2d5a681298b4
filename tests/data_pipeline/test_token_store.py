"""A token store returns the sequences that its writer appended."""

import errno
import pickle
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.token_store import TokenStore, TokenStoreWriter


def test_token_store_returns_sequences_appended_in_any_groups(tmp_path: Path) -> None:
    rows = [[5, 3], [3], [7, 8, 9, 3]]
    for name, groups in [("a", [rows]), ("b", [[row] for row in rows]), ("c", [rows[:1], [], rows[1:]])]:
        with TokenStoreWriter(tmp_path / name, vocab_size=10) as out:
            for group in groups:
                out.append(group)
        store = TokenStore(tmp_path / name)
        assert [store[i].tolist() for i in range(len(store))] == rows
        assert store.lengths.tolist() == [2, 1, 4]


def test_token_store_uses_wider_ids_for_large_vocabulary(tmp_path: Path) -> None:
    for size, dtype in [(2**16, np.uint16), (2**16 + 1, np.int32)]:
        with TokenStoreWriter(tmp_path / "x", size) as out:
            out.append([[size - 1, 3]])
        store = TokenStore(tmp_path / "x")
        assert store[0].dtype == dtype
        assert store[0][0] == size - 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("file", ["x.ids.npy", "x.offsets.npy", "x.lengths.npy"])
def test_token_store_writer_names_full_disk(tmp_path: Path, file: str) -> None:
    (tmp_path / file).symlink_to("/dev/full")

    def write() -> None:
        with TokenStoreWriter(tmp_path / "x", 10) as out:
            out.append([[3]] * 100_000)

    with pytest.raises(OSError, match="No space left") as error:
        write()
    assert error.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("longest", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.int32)]
)
def test_lengths_are_memory_mapped_in_smallest_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int, dtype: type
) -> None:
    monkeypatch.setattr("data_pipeline.token_store.AT_ONCE", 2)
    with TokenStoreWriter(tmp_path / "x", 10) as out:
        out.append([[3], [5] * longest, []])
        out.append([[3]] * 2)
    lengths = TokenStore(tmp_path / "x").lengths
    assert isinstance(lengths, np.memmap)
    assert (lengths.dtype, lengths.tolist()) == (dtype, [1, longest, 0, 1, 1])


def test_token_store_of_older_version_has_lengths(tmp_path: Path) -> None:
    with TokenStoreWriter(tmp_path / "x", 10) as out:
        out.append([[3], [5, 3]])
    (tmp_path / "x.lengths.npy").unlink()
    assert TokenStore(tmp_path / "x").lengths.tolist() == [1, 2]


def test_empty_token_store_opens(tmp_path: Path) -> None:
    with TokenStoreWriter(tmp_path / "x", 10):
        pass
    assert len(TokenStore(tmp_path / "x")) == 0


def test_token_store_rejects_index_out_of_range(tmp_path: Path) -> None:
    with TokenStoreWriter(tmp_path / "x", 10) as out:
        out.append([[3]])
    for i in (1, -1):
        with pytest.raises(IndexError):
            TokenStore(tmp_path / "x")[i]


def test_pickled_token_store_contains_path_instead_of_ids(tmp_path: Path) -> None:
    with TokenStoreWriter(tmp_path / "x", 10) as out:
        out.append([[5] * 100_000])
    pickled = pickle.dumps(TokenStore(tmp_path / "x"))
    assert len(pickled) < 1000
    assert len(pickle.loads(pickled)[0]) == 100_000
