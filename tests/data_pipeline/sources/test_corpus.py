"""Every way to name a corpus gives the same pairs, and bad input is named with file and line."""

import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import NoSuchSplit, iterate, load, read_pairs
from data_pipeline.sources.names import CorpusSpec, Role, parse_specs

CONFIG = DataConfig()

# Cells that careless readers change: quotation marks, missing-value words, spaces, line breaks that are none.
PAIRS = [
    ('He said "no".', "Er sagte „nein“."),
    ("NA", "null"),
    ('"', 'nan "" x'),
    ("half\u2028line\x85 and \x0c feed", "halbe\u2028Zeile"),
    ("  spaces  ", " bleiben "),
    ("", "leer"),
    ("1.0", "007"),
]


def text_files(folder: Path, pairs: list[tuple[str, str]] = PAIRS, name: str = "a") -> list[str]:
    for side, language in enumerate(("en", "de")):
        lines = "".join(pair[side] + "\n" for pair in pairs)
        (folder / f"{name}.{language}").write_bytes(lines.encode())
    return [str(folder / f"{name}.en"), str(folder / f"{name}.de")]


def table_file(folder: Path, suffix: str) -> str:
    file = folder / f"table{suffix}"
    if suffix == ".tsv":
        file.write_bytes("".join(f"{en}\t{de}\n" for en, de in PAIRS).encode())
    elif suffix == ".csv":
        cells = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in (de, en)] for en, de in PAIRS]
        file.write_bytes("".join(",".join(row) + "\n" for row in [["de", "en"], *cells]).encode())
    elif suffix == ".jsonl":
        file.write_bytes("".join(json.dumps({"de": de, "en": en}) + "\n" for en, de in PAIRS).encode())
    else:
        from datasets import Dataset

        Dataset.from_dict({"de": [de for _, de in PAIRS], "en": [en for en, _ in PAIRS]}).to_parquet(file)
    return str(file)


def compress(file: str, suffix: str) -> str:
    content = Path(file).read_bytes()
    Path(file).unlink()
    Path(file + suffix).write_bytes(gzip.compress(content) if suffix == ".gz" else lzma.compress(content))
    return file + suffix


def read(value: Any, config: DataConfig = CONFIG) -> list[tuple[str, str]]:
    return list(zip(*read_pairs(value, config), strict=True))


def data_set(folder: Path, readme: bool = True) -> Path:
    """A local folder with WMT14's features, splits and configuration name."""
    from datasets import Dataset, Features, Translation

    features = Features({"translation": Translation(languages=["de", "en"])})
    (folder / "de-en").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [{"de": f"{split} {de}", "en": f"{split} {en}"} for en, de in PAIRS]
        dataset = Dataset.from_dict({"translation": rows}, features=features)
        dataset.to_parquet(folder / "de-en" / f"{split}-00000-of-00001.parquet")
    if readme:
        files = "".join(f"  - split: {split}\n    path: de-en/{split}-*\n" for split in ("train", "validation", "test"))
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: de-en\n  data_files:\n{files}---\n")
    return folder


# Text and tables


def test_parallel_text_comes_out_as_it_is_written(tmp_path: Path) -> None:
    assert read(text_files(tmp_path)) == PAIRS


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_a_table_gives_the_same_pairs_as_plain_text(tmp_path: Path, suffix: str) -> None:
    assert read(table_file(tmp_path, suffix)) == PAIRS


@pytest.mark.parametrize("packed", [".gz", ".xz"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_a_compressed_table_gives_the_same_pairs(tmp_path: Path, suffix: str, packed: str) -> None:
    assert read(compress(table_file(tmp_path, suffix), packed)) == PAIRS


@pytest.mark.parametrize("packed", [".gz", ".xz"])
def test_compressed_text_gives_the_same_pairs(tmp_path: Path, packed: str) -> None:
    source, target = text_files(tmp_path)
    assert read([compress(source, packed), target]) == PAIRS


def test_globs_read_their_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, pairs in [("part2", PAIRS[3:]), ("part1", PAIRS[:3])]:
        text_files(tmp_path, pairs, name)
    assert read([str(tmp_path / "part*.en"), str(tmp_path / "part*.de")]) == PAIRS
    (tmp_path / "x1.tsv").write_text("a\tb\n")
    (tmp_path / "x2.tsv").write_text("c\td\n")
    assert read(str(tmp_path / "x?.tsv")) == [("a", "b"), ("c", "d")]


def test_a_list_of_lists_is_several_corpora_one_after_the_other(tmp_path: Path) -> None:
    files, table = text_files(tmp_path), table_file(tmp_path, ".tsv")
    folder = str(data_set(tmp_path / "set"))
    pairs = read([files, [table], [f"{folder}:de-en:test"]])
    assert pairs[: 2 * len(PAIRS)] == PAIRS + PAIRS
    assert len(pairs) == 3 * len(PAIRS)


def test_windows_line_ends_and_a_byte_order_mark_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (tmp_path / "b").write_bytes(b"eins\nzwei")
    assert read([str(tmp_path / "a"), str(tmp_path / "b")]) == [("one", "eins"), ("two", "zwei")]


def test_a_tsv_with_a_header_is_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("id\tde\ten\n1\teins\tone\n")
    assert read(str(file)) == [("one", "eins")]
    named = DataConfig(source_column="id", target_column="de")
    assert read(str(file), named) == [("1", "eins")]


def test_json_lines_may_hold_a_translation_object(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"translation": {"en": "one", "de": "eins"}}\n\n{"translation": {"en": null, "de": "x"}}\n')
    assert read(str(file)) == [("one", "eins"), ("", "x")]


def test_a_csv_cell_may_hold_a_line_break_and_be_very_long(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f'en,de\n"one\ntwo","{"x" * 200_000}"\n')
    assert read(str(file)) == [("one\ntwo", "x" * 200_000)]


def test_a_file_that_changed_under_the_same_name_is_read_anew(tmp_path: Path) -> None:
    for suffix in (".tsv", ".parquet"):
        file = table_file(tmp_path, suffix)
        stat = Path(file).stat()
        assert read(file) == PAIRS
        Path(file).write_bytes(Path(file).read_bytes().replace(b"007", b"008"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert read(file)[-1] == ("1.0", "008")


# Data sets


@pytest.mark.parametrize("readme", [True, False])
def test_a_local_folder_like_wmt14_loads_through_the_path_the_hub_takes(tmp_path: Path, readme: bool) -> None:
    folder = data_set(tmp_path / "wmt14", readme)
    roles: list[tuple[Role, str]] = [("train", "train"), ("valid", "validation"), ("test", "test")]
    for role, split in roles:
        dataset = load(parse_specs(f"{folder}:de-en")[0], CONFIG, role, tmp_path)
        assert dataset.column_names == ["source", "target"]
        assert list(dataset["source"]) == [f"{split} {en}" for en, _ in PAIRS]
        assert list(dataset["target"]) == [f"{split} {de}" for _, de in PAIRS]


def test_a_folder_named_like_a_file_format_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    assert len(read("text:de-en")) == len(PAIRS)


def test_the_languages_decide_the_direction(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "wmt14")
    pairs = read(f"{folder}:de-en:train", DataConfig(source_lang="de", target_lang="en"))
    assert pairs == [(f"train {de}", f"train {en}") for en, de in PAIRS]


def test_a_data_set_may_have_named_columns_and_a_missing_value_is_an_empty_text(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"q": ["one", None], "a": ["eins", "zwei"]}).to_parquet(tmp_path / "train.parquet")
    config = DataConfig(source_column="q", target_column="a")
    assert read(f"{tmp_path}::train", config) == [("one", "eins"), ("", "zwei")]


def test_missing_split_configuration_language_and_column_are_named(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "wmt14")
    with pytest.raises(ValueError, match=r'wmt14:de-en:dev.*Unknown split "dev"'):
        read(f"{folder}:de-en:dev")
    with pytest.raises(ValueError, match=r"BuilderConfig 'fr-en' not found. Available: \['de-en'\]"):
        read(f"{folder}:fr-en")
    with pytest.raises(ValueError, match=r"no column 'translation.fr' but 'translation.de', 'translation.en'"):
        read(f"{folder}:de-en", DataConfig(target_lang="fr"))
    with pytest.raises(ValueError, match="no column 'q' but 'translation'"):
        read(f"{folder}:de-en", DataConfig(source_column="q"))


def test_a_set_without_the_split_of_the_role_is_refused_with_the_splits_it_has(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set", readme=False)
    (folder / "de-en" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(NoSuchSplit, match=r"de-en has no split 'test' but .*'validation'.* such as .*de-en:train"):
        read(f"{folder}:de-en")


@pytest.mark.parametrize("name", ["text", "csv:de-en", "parquet::train"])
def test_a_file_format_is_no_corpus_and_reads_nothing_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is no folder here.*name the files"):
        read(name)


def test_a_corpus_may_be_given_as_it_was_parsed(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "set")
    for value in (text_files(tmp_path), table_file(tmp_path, ".tsv")):
        assert read(parse_specs(value)[0]) == PAIRS
    assert len(read(CorpusSpec("set", str(folder), split="test"))) == len(PAIRS)


def test_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"en": [1, 2], "de": ["eins", "zwei"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"column 'en' of .*x\.parquet holds .*int64.* and not text"):
        read(str(tmp_path / "x.parquet"))


def test_without_network_the_hub_costs_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    script = (
        "from data_pipeline.config import DataConfig\nfrom data_pipeline.sources.corpus import read_pairs\n"
        "try:\n    read_pairs('wmt/wmt14:de-en', DataConfig())\nexcept OSError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert run.stderr == ""
    assert run.stdout.startswith("the Hugging Face hub cannot be reached for wmt/wmt14")
    assert "HF_HOME" in run.stdout
    assert "local files" in run.stdout
    assert run.stdout.count("\n") == 1


# The built-in corpus


def test_the_built_in_corpus_follows_the_role_and_the_number_of_pairs(tmp_path: Path) -> None:
    config = DataConfig(grammar_pairs=50)
    train = read_pairs("grammar", config, "train")
    assert len(train[0]) == len(train[1]) == 50
    assert read_pairs("grammar:train", config, "test") == train
    assert read_pairs("grammar", config, "valid") != read_pairs("grammar", config, "test")
    assert read_pairs("grammar", DataConfig(grammar_pairs=50, seed=2), "train") != train


def test_a_large_built_in_corpus_does_not_depend_on_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_pipeline.sources.corpus.POOL_FROM", 100)
    monkeypatch.setattr("data_pipeline.sources.corpus.BATCH", 40)
    spec, config = parse_specs("grammar")[0], DataConfig(grammar_pairs=100)
    one, two = (list(iterate(load(spec, config, "train", tmp_path, threads))) for threads in (1, 2))
    assert one == two


# Names


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("grammar", CorpusSpec("grammar")),
        ("grammar:unseen", CorpusSpec("grammar", split="unseen")),
        ("x/y.tsv.gz", CorpusSpec("table", "x/y.tsv.gz")),
        (["x.parquet"], CorpusSpec("table", "x.parquet")),
        (["a.en", "a.de"], CorpusSpec("text", "a.en", target="a.de")),
        ("wmt/wmt14:de-en", CorpusSpec("set", "wmt/wmt14", config="de-en")),
        ("wmt/wmt14:de-en:test", CorpusSpec("set", "wmt/wmt14", config="de-en", split="test")),
        ("name::test", CorpusSpec("set", "name", split="test")),
    ],
)
def test_a_name_says_what_kind_of_corpus_it_is(value: Any, spec: CorpusSpec) -> None:
    assert parse_specs(value) == [spec]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a.en", "a.de", "a.fr"], "list of 3 names"),
        (["a.tsv", "b.tsv"], r"write two corpora as \[\[a.tsv\], \[b.tsv\]\]"),
        (["grammar", "grammar:unseen"], "grammar is neither"),
        ("grammar:dev", "splits train, valid, test, unseen"),
        (7, "not 7"),
        ([], r"not \[\]"),
        (["a", 7], "neither a name nor a list"),
        ("a:b:c:d", "name:config:split"),
    ],
)
def test_what_is_no_corpus_is_refused_with_a_hint(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_specs(value)


def test_a_single_text_file_is_refused_with_the_way_to_write_a_pair(tmp_path: Path) -> None:
    source, _ = text_files(tmp_path)
    with pytest.raises(ValueError, match=r"a\.en is one file .* \[source, target\]"):
        parse_specs(source)


# Bad input


@pytest.mark.parametrize("value", ["/no/such/x.tsv", "./no-such-folder", ["/no/such/a.en", "b.de"], "/no/such/*.tsv"])
def test_load_settings_names_missing_file(value: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-folder|/no/such"):
        read(value)


@pytest.mark.parametrize(("sources", "targets"), [(3, 5), (5, 3), (0, 1)])
def test_unequal_line_counts_name_both_files_and_both_counts(tmp_path: Path, sources: int, targets: int) -> None:
    (tmp_path / "a.en").write_text("x\n" * sources)
    (tmp_path / "a.de").write_text("y\n" * targets)
    with pytest.raises(ValueError, match=rf"a\.en has {sources} lines and .*a\.de has {targets}:"):
        read([str(tmp_path / "a.en"), str(tmp_path / "a.de")])


def test_unequal_numbers_of_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.en", "b.en", "a.de"):
        (tmp_path / name).write_text("x\n")
    with pytest.raises(ValueError, match=r"2 source files .* 1 target files"):
        read([str(tmp_path / "*.en"), str(tmp_path / "*.de")])


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".de"])
def test_bytes_that_are_no_utf8_are_reported_with_file_and_line(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"bad{suffix}"
    head = {".tsv": b"a\tb\n", ".csv": b"en,de\n", ".jsonl": b'{"en": "x", "de": "y"}\n', ".de": b"x\n"}[suffix]
    file.write_bytes(head + b"caf\xe9\n")
    (tmp_path / "good").write_text("x\ny\n")
    with pytest.raises(ValueError, match=rf"bad\{suffix}, line 2: byte 0xe9 is not UTF-8"):
        read([str(tmp_path / "good"), str(file)] if suffix == ".de" else str(file))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\tb\nonly one\n", "line 2: 1 column where at least 2"),
        ("a.csv", "en,fr\na,b\n", "no column 'de' but 'en', 'fr'"),
        ("a.csv", "en,de\na,b\na,b,c\n", "line 3: 3 columns under a header of 2"),
        ("a.csv", 'en,de\na,"b\nc,d\n', "line 3: unexpected end of data"),
        ("a.jsonl", '{"en": "a", "de": "b"}\n{"en"\n', "line 2: "),
        ("a.jsonl", '{"en": "a", "fr": "b"}\n', "line 1: no 'de' among 'en', 'fr'"),
        ("a.jsonl", '{"en": 7, "de": "b"}\n', "line 1: 'en' is int and not text"),
        ("a.jsonl", '["a", "b"]\n', "line 1: no JSON object"),
        ("a.jsonl", '{"en": "\\ud83d", "de": "b"}\n', "line 1: .*surrogate"),
        ("a.tsv.gz", "not compressed", r"a\.tsv\.gz is damaged after line 0"),
        ("a.tsv.xz", "not compressed", r"a\.tsv\.xz is damaged after line 0"),
        ("a.parquet.gz", "not compressed", r"a\.parquet\.gz is damaged"),
        ("a.parquet", "no parquet", r"a\.parquet cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_is_reported_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=rf"data\.test=.*{name} is empty"):
        read(str(tmp_path / name))


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_an_empty_parquet_file_is_said_to_be_empty_and_adds_nothing_to_others(tmp_path: Path, packed: str) -> None:
    from datasets import Dataset

    files = [str(tmp_path / "a.parquet"), table_file(tmp_path, ".parquet")]
    Dataset.from_dict({"de": [], "en": []}).to_parquet(files[0])
    if packed:
        files = [compress(file, packed) for file in files]
    with pytest.raises(ValueError, match=rf"data\.test=.*a\.parquet{packed} is empty"):
        read(files[0])
    assert read(str(tmp_path / f"*.parquet{packed}")) == PAIRS


def test_a_truncated_archive_is_reported(tmp_path: Path) -> None:
    whole = gzip.compress(b"a\tb\n" * 100_000)
    (tmp_path / "a.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.tsv\.gz is damaged after line \d+"):
        read(str(tmp_path / "a.tsv.gz"))
