"""Text for language modelling: which files are found, and how they are divided into segments."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources import running_text
from data_pipeline.sources.running_text import TextSegment, open_text

CONFIG = DataConfig(task="language_modelling", vocab_type="characters")


def read(value: Any, tmp_path: Path, config: DataConfig = CONFIG) -> list[TextSegment]:
    return list(open_text(value, config, "train", tmp_path)())


def write_texts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "b.txt").write_text("two\n")
    return folder


@pytest.mark.parametrize("name", ["texts", "texts [1]", "texts?", "*"])
def test_open_text_reads_folder_with_any_name(tmp_path: Path, name: str) -> None:
    folder = write_texts(tmp_path / name)
    assert [segment.text for segment in read(str(folder), tmp_path)] == ["one\n", "two\n"]


@pytest.mark.parametrize("pattern", ["*.txt", "a.txt", "[a].txt"])
def test_open_text_reads_pattern_below_folder_with_brackets_in_name(tmp_path: Path, pattern: str) -> None:
    folder = write_texts(tmp_path / "texts [1]")
    assert read(str(folder / pattern), tmp_path)[0] == TextSegment("one\n")


def test_open_text_divides_long_file_into_segments_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_text, "SEGMENT", 5)
    (tmp_path / "a.txt").write_text("1234\n678\r\n\nab")
    segments = read(str(tmp_path / "a.txt"), tmp_path)
    assert segments == [
        TextSegment("1234\n", ends_document=False),
        TextSegment("678\n\n", ends_document=False),
        TextSegment("ab"),
    ]


def test_open_text_puts_prompt_before_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "1+1=", "text": "2"}\n{"q": "", "text": "x"}\n{"q": "2", "text": " "}\n')
    config = DataConfig(task="language_modelling", vocab_type="characters", prompt_column="q")
    assert read(str(tmp_path / "a.jsonl"), tmp_path, config) == [
        TextSegment("1+1=", predicted=False, ends_document=False),
        TextSegment("2"),
        TextSegment("x"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\ncaf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
        ("a.txt.gz", b"not compressed", "damaged after line 0"),
        ("a.txt.xz", b"not compressed", "damaged after line 0"),
        ("a.jsonl", b'{"text": "a"}\n{"text"\n', "line 2: not valid JSON"),
        ("a.jsonl", b'{"words": "a"}\n', r"no key 'text'; .*Set data\.text_column \(and data\.prompt_column\)"),
        ("a.csv", b"words\na\n", r"no column 'text'; .*Set data\.text_column"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_open_text_rejects_damaged_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(str(tmp_path / name), tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "must be a name or a list of names, not 7"),
        ([], "must be a name or a list of names"),
        ([["a.txt"]], "must be a name or a list of names"),
        ("grammar", r"has sentence pairs: set data\.task=translation"),
        (
            "addition:unseen",
            r"'addition:unseen': .* has the splits train, valid, test\. Write for example addition:train",
        ),
    ],
)
def test_open_text_rejects_value_that_names_no_text(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_text(value, CONFIG, "train", tmp_path)
