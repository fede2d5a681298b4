"""common/files.py: text, compression, paths, atomic writes and locks."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import InputError
from common.files import (
    append_text,
    create_folder,
    expand,
    find_files,
    lock,
    make_folder,
    open_output,
    plain_suffix,
    read_json,
    read_small,
    reject_links,
    replace_file,
    sha256,
    write_json,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]


def test_find_files_takes_existing_names_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "texts [1]"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c [x].txt"):
        (folder / name).touch()
    assert find_files(folder / "c [x].txt") == [folder / "c [x].txt"]
    assert find_files(str(folder / "[ab].txt")) == [folder / "a.txt", folder / "b.txt"]
    monkeypatch.setenv("HOME", str(folder))
    assert find_files("~/a.*") == [folder / "a.txt"]
    assert expand("~/a.txt") == folder / "a.txt"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_files(folder / "*.tsv")


def test_find_files_expands_relative_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert find_files("*/y/*.txt") == find_files("**/a.txt") == [Path("x/y/a.txt")]


def test_plain_suffix_ignores_compression() -> None:
    assert [plain_suffix(name) for name in ("a.tsv.gz", "a.b.csv", "a.xz", "a")] == [".tsv", ".csv", "", ""]


def test_open_output_keeps_old_file_if_writing_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), open_output(tmp_path / "a") as out:  # noqa: PT012
        out.write("new")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_open_output_writes_through_symbolic_links_and_pipes(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with open_output(tmp_path / "link") as out:
        out.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    with open_output("/dev/null") as out:
        out.write("nothing")


def test_open_output_rejects_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"), open_output(tmp_path / "no" / "a"):
        pass


def test_replace_file_leaves_no_temporary_file_if_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), replace_file(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", ".a.tmp"])
def test_replace_file_follows_no_link(name: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / "other")
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "other").read_text() == "precious"
    assert (tmp_path / "a").read_text() == "x"
    assert not (tmp_path / "a").is_symlink()


def test_make_folder_rejects_file_in_path(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file is not a folder, so .*file/c cannot be written"):
        make_folder(tmp_path / "file/c")


def test_read_small_rejects_huge_files_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert read_small(tmp_path / "a") == b"x"
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(InputError, match=r"sparse has more than 268,435,456 bytes"):
        read_small(tmp_path / "sparse")
    with pytest.raises(InputError, match="is not a file"):
        read_small(tmp_path)


def test_append_text_follows_no_link(tmp_path: Path) -> None:
    append_text(tmp_path / "a", "1\n")
    append_text(tmp_path / "a", "2\n")
    assert (tmp_path / "a").read_text() == "1\n2\n"
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(OSError, match="link"):
        append_text(tmp_path / "link", "x")
    assert not (tmp_path / "new").exists()


def test_reject_links_names_link_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints/first").mkdir(parents=True)
    reject_links(tmp_path / "run", ["checkpoints", "missing"])
    (tmp_path / "run/checkpoints/first/metrics.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"first/metrics.jsonl is a symbolic link"):
        reject_links(tmp_path / "run", ["checkpoints"])
    (tmp_path / "same").symlink_to(tmp_path / "run")
    reject_links(tmp_path / "same", ["config.yaml"])


def test_replace_file_flushes_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("common.files.sync", flushed.append)
    write_text(tmp_path / "a", "x")
    assert flushed == [tmp_path / ".a.tmp", tmp_path]


def test_write_json_rejects_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": 1.5})
    assert read_json(tmp_path / "a.json") == {"ü": 1.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff", json.dumps([[]]).encode() + b"x"])
def test_read_json_rejects_damaged_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_create_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), create_folder(tmp_path / "x" / "data") as folder:  # noqa: PT012
        (folder / "a").touch()
        raise RuntimeError
    assert list((tmp_path / "x").iterdir()) == []
    with create_folder(tmp_path / "x" / "data") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "x" / "data").exists()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["data"]
    with create_folder(tmp_path / "x" / "data") as folder:  # another process was faster
        (folder / "b").touch()
    assert [path.name for path in (tmp_path / "x" / "data").iterdir()] == ["a"]


def test_sha256_equals_known_hash(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_lock_is_exclusive_and_released_if_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom common.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    file = tmp_path / "run" / ".lock"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another process is working in"), lock(file, timeout=0.3):
            pass
        other.kill()
    started = time.monotonic()
    with lock(file):
        pass
    assert time.monotonic() - started < 10
