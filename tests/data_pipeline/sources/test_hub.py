"""Dataset folders load as datasets of the Hub do, and each error is one sentence that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import load_corpus
from data_pipeline.sources.hub import FILE_FORMATS, NoSuchSplit
from data_pipeline.sources.names import CorpusSpec, Role, parse_specs
from tests.data_pipeline.sources.corpora import (
    CONFIG,
    PAIRS,
    read,
    write_dataset,
    write_table,
    write_text_files,
)


@pytest.mark.parametrize("readme", [True, False])
def test_load_corpus_reads_each_split_of_dataset_folder(tmp_path: Path, readme: bool) -> None:
    folder = write_dataset(tmp_path / "wmt14", readme)
    roles: list[tuple[Role, str]] = [("train", "train"), ("valid", "validation"), ("test", "test")]
    for role, split in roles:
        dataset = load_corpus(parse_specs(f"{folder}:de-en")[0], CONFIG, role, tmp_path)
        assert dataset.column_names == ["source", "target"]
        assert list(dataset["source"]) == [f"{split} {en}" for en, _ in PAIRS]
        assert list(dataset["target"]) == [f"{split} {de}" for _, de in PAIRS]


def test_load_corpus_prefers_folder_to_file_format_of_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    assert len(read("text:de-en")) == len(PAIRS)


def test_load_corpus_takes_direction_from_languages(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "wmt14")
    pairs = read(f"{folder}:de-en:train", DataConfig(source_lang="de", target_lang="en"))
    assert pairs == [(f"train {de}", f"train {en}") for en, de in PAIRS]


def test_load_corpus_reads_named_columns_with_missing_values(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"q": ["one", None], "a": ["eins", "zwei"]}).to_parquet(tmp_path / "train.parquet")
    config = DataConfig(source_column="q", target_column="a")
    assert read(f"{tmp_path}::train", config) == [("one", "eins"), ("", "zwei")]


def test_load_corpus_rejects_missing_split_configuration_and_column(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "wmt14")
    with pytest.raises(ValueError, match=r'wmt14:de-en:dev.*Unknown split "dev"'):
        read(f"{folder}:de-en:dev")
    with pytest.raises(ValueError, match=r"BuilderConfig 'fr-en' not found. Available: \['de-en'\]"):
        read(f"{folder}:fr-en")
    with pytest.raises(ValueError, match=r"no column 'fr'; its columns are: 'de' .such as .*'en' .such as"):
        read(f"{folder}:de-en", DataConfig(target_lang="fr"))
    with pytest.raises(ValueError, match="no column 'q'; its columns are: 'translation'"):
        read(f"{folder}:de-en", DataConfig(source_column="q"))


def test_load_corpus_lists_splits_if_split_of_role_is_missing(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", readme=False)
    (folder / "de-en" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(NoSuchSplit, match=r"de-en has no split 'test'; .*'validation'.* for example .*de-en:train"):
        read(f"{folder}:de-en")


@pytest.mark.parametrize("name", ["text", "csv:de-en", "parquet::train"])
def test_load_corpus_rejects_file_format_as_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_text_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder .*Name the files"):
        read(name)


def test_read_pairs_accepts_corpus_spec(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set")
    for value in (write_text_files(tmp_path), write_table(tmp_path, ".tsv")):
        assert read(parse_specs(value)[0]) == PAIRS
    assert len(read(CorpusSpec("dataset", str(folder), split="test"))) == len(PAIRS)


def test_load_corpus_rejects_column_of_numbers(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"en": [1, 2], "de": ["eins", "zwei"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"column 'en' of .*x\.parquet contains .*int64.*, not text"):
        read(str(tmp_path / "x.parquet"))


def test_load_corpus_without_network_raises_error_with_advice(tmp_path: Path) -> None:
    script = (
        "from data_pipeline.config import DataConfig\nfrom data_pipeline.sources.corpus import read_pairs\n"
        "try:\n    read_pairs('wmt/wmt14:de-en', DataConfig())\nexcept OSError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.stderr == ""
    assert run.stdout.startswith("the Hugging Face Hub does not answer, and wmt/wmt14")
    assert "HF_HOME" in run.stdout
    assert "local files" in run.stdout
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize("name", sorted(FILE_FORMATS))
def test_load_corpus_rejects_file_format_if_datasets_does_not_list_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr("datasets.packaged_modules")  # first, because it imports all of `datasets`
    monkeypatch.setitem(sys.modules, "datasets.packaged_modules", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="Name the files"):
        read(name)


def test_load_corpus_rejects_dataset_folder_with_brackets_in_path(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set [1]")
    with pytest.raises(ValueError, match=r"set \[1\], because its path contains .*Rename it"):
        read(f"{folder}:de-en:test")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", b"---\nconfigs:\n- config_name: [\n---\n"),
        ("README.md", b"---\nconfigs:\n- config_name: \xff\n---\n"),
        ("README.md", b"---\nconfigs: 7\n---\n"),
        ("train.csv", b"en,de\n\xff,b\n"),
        ("train.csv", b'en,de\n"a,b\n'),
        ("train.jsonl", b'{"en": "a"\n'),
        ("train.parquet", b"no parquet"),
        ("train.txt.gz", b"not compressed"),
        ("train.zip", b"not compressed"),
    ],
)
def test_load_corpus_rejects_damaged_dataset_folder(tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    if name == "README.md":
        (folder / "train.csv").write_text("en,de\na,b\n")
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"/set(::train cannot be (read|loaded): |/train\.\w+, line \d+: )[^\n]+$"):
        read(f"{folder}::train")
