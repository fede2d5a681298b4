"""common/checksums.py: every kind of damage to a cached folder is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common import checksums
from common.checksums import CHECKSUMS, find_damage, read_checksums, remove_damaged, write_checksums
from common.files import sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = tmp_path / "cached"
    result.mkdir()
    (result / "ids").write_bytes(bytes(range(256)) * 40)
    (result / "empty").write_bytes(b"")
    write_checksums(result)
    return result


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def edit(file: Path) -> None:
    known = json.loads(file.read_text())
    known["files"]["ids"]["bytes"] += 1
    file.write_text(json.dumps(known))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: flip(folder / "ids", 5000), "the bytes of ids were changed"),
    (lambda folder: (folder / "ids").write_bytes(b""), "ids has 0 bytes instead of 10,240"),
    (lambda folder: (folder / "empty").write_bytes(b"x"), "empty has 1 bytes instead of 0"),
    (lambda folder: (folder / "empty").unlink(), "empty is missing"),
    (lambda folder: (folder / CHECKSUMS).unlink(), "checksums.json is missing, which older versions did not write"),
    (lambda folder: edit(folder / CHECKSUMS), "checksums.json was changed"),
    (lambda folder: flip(folder / CHECKSUMS, 40), "checksums.json was changed"),
    (lambda folder: (folder / CHECKSUMS).write_text("[1]"), "checksums.json was changed"),
    (lambda folder: (folder / CHECKSUMS).write_bytes(b"\xff"), "checksums.json was changed"),
    (lambda folder: (folder / CHECKSUMS).write_text("[" * 100_000), "checksums.json was changed"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_find_damage_names_damage(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    assert find_damage(folder) is None
    damage(folder)
    assert find_damage(folder) == message


def test_read_checksums_returns_sha256_of_files(folder: Path) -> None:
    assert read_checksums(folder) == {name: sha256(folder / name) for name in ("ids", "empty")}


def test_find_damage_compares_sample_of_large_folder_and_every_byte_on_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WHOLE", 1000), ("SAMPLES", 3), ("SAMPLE_BYTES", 100)):
        monkeypatch.setattr(checksums, name, value)
    write_checksums_again(folder)
    flip(folder / "ids", 2000)
    assert (find_damage(folder), find_damage(folder, every_byte=True)) == (None, "the bytes of ids were changed")
    for at in (0, 5120, 10_239):  # start, middle and end are in the sample
        flip(folder / "ids", at)
        assert find_damage(folder) == "the bytes of ids were changed"
        flip(folder / "ids", at)


def write_checksums_again(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()
    write_checksums(folder)


def test_remove_damaged_removes_folder_file_and_link(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remove_damaged(tmp_path / "absent")
    (folder / "ids").unlink()
    moved = shutil.move(folder, tmp_path / "moved")
    (tmp_path / "link").symlink_to(moved)
    (tmp_path / "file").write_text("x")
    for name, damage in (("link", "ids is missing"), ("file", "it is not a folder"), ("moved", "ids is missing")):
        remove_damaged(tmp_path / name)
        assert f"{tmp_path / name} in the cache is damaged ({damage})" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
