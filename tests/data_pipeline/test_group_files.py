"""Groups are computed once, by any process that gets their lock, and are read in order."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from common.errors import InputError
from data_pipeline.group_files import Arrays, GroupFiles, Step


def square(number: int) -> Arrays:
    return np.array(number**2), np.arange(number, dtype=np.uint8)


STEP = Step("squares", square, lambda number: number + 1, 6)
SQUARES = [1, 4, 9, 16, 25, 36]


def test_group_files_are_computed_once_and_read_in_order(tmp_path: Path) -> None:
    files = GroupFiles(tmp_path / "groups", 1)
    assert not files.started
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: list(files.compute_all(STEP, quiet=True)), range(3)))
    assert [sorted(numbers) for numbers in found] == [list(range(6))] * 3
    assert [int(result[0]) for result in files.read(STEP)] == SQUARES
    assert [result[1].dtype for result in files.read(STEP)] == [np.uint8] * 6
    assert files.started
    assert list(files.compute(STEP, range(6))) == []
    files.remove()
    assert list(files.compute(STEP, range(6))) == [], "the process that removes the folder needs no results"


def test_compute_all_names_process_that_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = GroupFiles(tmp_path / "groups", 1)
    assert next(files.compute_all(STEP, quiet=True)) == 0
    other = FileLock(files.folder / "squares-000004-of-000006.lock")
    other.acquire()
    (files.folder / "squares-000004-of-000006.txt").write_text("host-b, process 12")
    monkeypatch.setattr("data_pipeline.group_files.time.sleep", lambda _: other.release())
    assert sorted(files.compute_all(STEP, quiet=False)) == list(range(6))
    assert capsys.readouterr().err == "note: waiting for host-b, process 12, which prepares the same data\n"
    assert (
        files.folder / "squares-000004-of-000006.txt"
    ).read_text() == f"{socket.gethostname()}, process {os.getpid()}"


def test_group_file_is_not_written_if_check_fails(tmp_path: Path) -> None:
    def fail() -> None:
        raise InputError("a file was changed")

    files = GroupFiles(tmp_path, 1, fail)
    with pytest.raises(InputError, match="a file was changed"):
        list(files.compute_all(STEP, quiet=True))
    assert not list(tmp_path.glob("*.npz"))
    assert not list(tmp_path.glob(".*"))


def test_group_files_name_damaged_file(tmp_path: Path) -> None:
    files = GroupFiles(tmp_path, 1)
    list(files.compute_all(STEP, quiet=True))
    damaged = tmp_path / "squares-000002-of-000006.npz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"squares-000002-of-000006\.npz is damaged\. Delete "):
        list(files.read(STEP))
