"""Text files and tables of each format give the same pairs; damaged input is reported with file and line."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.config import DataConfig
from tests.data_pipeline.sources.corpora import (
    PAIRS,
    compress,
    read,
    write_dataset,
    write_table,
    write_text_files,
)


def test_read_pairs_returns_parallel_text_unchanged(tmp_path: Path) -> None:
    assert read(write_text_files(tmp_path)) == PAIRS


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_read_pairs_returns_same_pairs_from_every_table_format(tmp_path: Path, suffix: str) -> None:
    assert read(write_table(tmp_path, suffix)) == PAIRS


@pytest.mark.parametrize("packed", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_read_pairs_reads_compressed_tables(tmp_path: Path, suffix: str, packed: str) -> None:
    assert read(compress(write_table(tmp_path, suffix), packed)) == PAIRS


@pytest.mark.parametrize("packed", [".gz", ".xz", ".zst"])
def test_read_pairs_reads_compressed_text(tmp_path: Path, packed: str) -> None:
    source, target = write_text_files(tmp_path)
    assert read([compress(source, packed), target]) == PAIRS


def test_read_pairs_reads_files_of_pattern_in_sorted_order(tmp_path: Path) -> None:
    for name, pairs in [("part2", PAIRS[3:]), ("part1", PAIRS[:3])]:
        write_text_files(tmp_path, pairs, name)
    assert read([str(tmp_path / "part*.en"), str(tmp_path / "part*.de")]) == PAIRS
    (tmp_path / "x1.tsv").write_text("a\tb\n")
    (tmp_path / "x2.tsv").write_text("c\td\n")
    assert read(str(tmp_path / "x?.tsv")) == [("a", "b"), ("c", "d")]


def test_read_pairs_concatenates_corpora(tmp_path: Path) -> None:
    files, table = write_text_files(tmp_path), write_table(tmp_path, ".tsv")
    folder = str(write_dataset(tmp_path / "set"))
    pairs = read([files, [table], [f"{folder}:de-en:test"]])
    assert pairs[: 2 * len(PAIRS)] == PAIRS + PAIRS
    assert len(pairs) == 3 * len(PAIRS)


def test_read_pairs_removes_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (tmp_path / "b").write_bytes(b"eins\nzwei")
    assert read([str(tmp_path / "a"), str(tmp_path / "b")]) == [("one", "eins"), ("two", "zwei")]


def test_read_table_finds_tsv_columns_by_header(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("id\tde\ten\n1\teins\tone\n")
    assert read(str(file)) == [("one", "eins")]
    named = DataConfig(source_column="id", target_column="de")
    assert read(str(file), named) == [("1", "eins")]


def test_read_table_reads_translation_object_in_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"translation": {"en": "one", "de": "eins"}}\n\n{"translation": {"en": null, "de": "x"}}\n')
    assert read(str(file)) == [("one", "eins"), ("", "x")]


def test_read_table_keeps_line_breaks_and_long_cells_of_csv(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f'en,de\n"one\ntwo","{"x" * 200_000}"\n')
    assert read(str(file)) == [("one\ntwo", "x" * 200_000)]


def test_read_pairs_reads_changed_file_again(tmp_path: Path) -> None:
    for suffix in (".tsv", ".parquet"):
        file = write_table(tmp_path, suffix)
        stat = Path(file).stat()
        assert read(file) == PAIRS
        Path(file).write_bytes(Path(file).read_bytes().replace(b"007", b"008"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert read(file)[-1] == ("1.0", "008")


# Bad input


@pytest.mark.parametrize("value", ["/no/such/x.tsv", "./no-such-folder", ["/no/such/a.en", "b.de"], "/no/such/*.tsv"])
def test_read_pairs_fails_if_file_is_missing(value: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-folder|/no/such"):
        read(value)


@pytest.mark.parametrize(("sources", "targets"), [(3, 5), (5, 3), (0, 1)])
def test_read_parallel_rejects_unequal_numbers_of_lines(tmp_path: Path, sources: int, targets: int) -> None:
    (tmp_path / "a.en").write_text("x\n" * sources)
    (tmp_path / "a.de").write_text("y\n" * targets)
    with pytest.raises(ValueError, match=rf"a\.en has {sources} lines and .*a\.de has {targets}:"):
        read([str(tmp_path / "a.en"), str(tmp_path / "a.de")])


def test_read_parallel_rejects_unequal_numbers_of_files(tmp_path: Path) -> None:
    for name in ("a.en", "b.en", "a.de"):
        (tmp_path / name).write_text("x\n")
    with pytest.raises(ValueError, match=r"2 source files .* 1 target files"):
        read([str(tmp_path / "*.en"), str(tmp_path / "*.de")])


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".de"])
def test_read_pairs_rejects_invalid_utf8_with_file_and_line(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"bad{suffix}"
    head = {".tsv": b"a\tb\n", ".csv": b"en,de\n", ".jsonl": b'{"en": "x", "de": "y"}\n', ".de": b"x\n"}[suffix]
    file.write_bytes(head + b"caf\xe9\n")
    (tmp_path / "good").write_text("x\ny\n")
    with pytest.raises(ValueError, match=rf"bad\{suffix}, line 2: byte 0xe9 is not UTF-8"):
        read([str(tmp_path / "good"), str(file)] if suffix == ".de" else str(file))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\tb\nonly one\n", "line 2: found 1 column, but at least 2"),
        (
            "a.csv",
            "en,fr\na,b\n",
            r"no column 'de'; its columns are: 'en' .such as 'a'., 'fr' .such as 'b'.\. Set data\.so",
        ),
        ("a.csv", "en,de\na,b\na,b,c\n", "line 3: found 3 columns, but the header has 2"),
        ("a.csv", 'en,de\na,"b\nc,d\n', "line 3: not valid CSV .unexpected end of data"),
        (
            "a.jsonl",
            '{"en": "a", "de": "b"}\n{"en"\n',
            "line 2: not valid JSON .*, at character 6",
        ),
        ("a.jsonl", '{"en": ' + "[" * 100_000 + "\n", "line 1: JSON that cannot be read"),
        ("a.jsonl", '{"en": ' + "1" * 10_000 + "}\n", "line 1: JSON that cannot be read"),
        ("a.jsonl", '{"en": "a", "fr": "b"}\n', "no key 'de'; its keys are: 'en' .such as 'a'., 'fr' "),
        ("a.jsonl", '{"en": 7, "de": "b"}\n', "line 1: the value of 'en' must be text, not int"),
        ("a.jsonl", '["a", "b"]\n', "line 1: not a JSON object"),
        ("a.jsonl", '{"en": "\\ud83d", "de": "b"}\n', r"line 1: the text contains the lone surrogate \\ud83d"),
        ("a.tsv.gz", "not compressed", r"a\.tsv\.gz is damaged after line 0"),
        ("a.tsv.xz", "not compressed", r"a\.tsv\.xz is damaged after line 0"),
        ("a.tsv.zst", "not compressed", r"a\.tsv\.zst is damaged after line 0"),
        ("a.parquet.zst", "not compressed", r"a\.parquet\.zst is damaged"),
        ("a.parquet.gz", "not compressed", r"a\.parquet\.gz is damaged"),
        ("a.parquet", "no parquet", r"a\.parquet cannot be read as Parquet"),
    ],
)
def test_read_pairs_rejects_damaged_file_with_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_read_pairs_rejects_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=rf"data\.test=.*{name} is empty"):
        read(str(tmp_path / name))


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_read_pairs_ignores_empty_parquet_file_among_others(tmp_path: Path, packed: str) -> None:
    from datasets import Dataset

    files = [str(tmp_path / "a.parquet"), write_table(tmp_path, ".parquet")]
    Dataset.from_dict({"de": [], "en": []}).to_parquet(files[0])
    if packed:
        files = [compress(file, packed) for file in files]
    with pytest.raises(ValueError, match=rf"data\.test=.*a\.parquet{packed} is empty"):
        read(files[0])
    assert read(str(tmp_path / f"*.parquet{packed}")) == PAIRS


def test_read_pairs_rejects_truncated_gzip_file(tmp_path: Path) -> None:
    whole = gzip.compress(b"a\tb\n" * 100_000)
    (tmp_path / "a.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.tsv\.gz is damaged after line \d+"):
        read(str(tmp_path / "a.tsv.gz"))


def test_read_pairs_reads_files_in_folder_with_brackets_in_name(tmp_path: Path) -> None:
    folder = tmp_path / "texts [1]"
    folder.mkdir()
    source, target = write_text_files(folder)
    assert read([source, target]) == PAIRS
    assert read([str(folder / "*.en"), str(folder / "*.de")]) == PAIRS
    for suffix in (".tsv", ".parquet"):
        assert read(write_table(folder, suffix)) == PAIRS
        assert read(str(folder / f"t*{suffix}")) == PAIRS
