"""How a corpus is named, and which corpus a role takes if its own is not set."""

from pathlib import Path
from typing import Any

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.names import CorpusSpec, corpus_value, parse_specs
from tests.data_pipeline.sources.corpora import write_text_files

FILES = ["a.en", "a.de"]


@pytest.mark.parametrize(
    ("train", "own"),
    [
        ("wmt/wmt14:de-en", True),
        ("grammar", True),
        ([["wmt/wmt14:de-en"], ["grammar"]], True),
        (FILES, False),
        ("a.tsv", False),
        ("wmt/wmt14:de-en:train", False),
        ([FILES, ["grammar"]], False),
    ],
)
@pytest.mark.parametrize("role", ["valid", "test"])
def test_corpus_value_uses_train_only_if_train_has_splits(train: Any, own: bool, role: Any) -> None:
    assert corpus_value(DataConfig(train=train), role) == (train if own else None)


def test_corpus_value_prefers_setting_of_role() -> None:
    assert corpus_value(DataConfig(valid=FILES), "valid") == FILES
    assert corpus_value(DataConfig(train=FILES, test="grammar:unseen"), "test") == "grammar:unseen"


@pytest.mark.parametrize(
    "name",
    ["grammar", "grammar:unseen", "x/y.tsv.gz", "a/b", "a/b:c", "a/b:c:test", "a/b::test"],
)
def test_corpus_spec_prints_as_corpus_name(name: str) -> None:
    (spec,) = parse_specs(name)
    assert str(spec) == name


def test_parse_specs_returns_corpus_spec_unchanged() -> None:
    spec = CorpusSpec("parallel_files", "a.en", target="grammar.tsv")
    assert parse_specs(spec) == [spec]
    assert str(spec) == "[a.en, grammar.tsv]"


@pytest.mark.parametrize("language", ["no", "yes", "on", "off", "y", "n", "zh-TW", "zho_Hans"])
def test_data_config_accepts_language_that_yaml_reads_as_boolean(language: str) -> None:
    config = DataConfig(source_lang=language, target_lang=language)
    assert (config.source_lang, config.target_lang) == (language, language)


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("grammar", CorpusSpec("grammar")),
        ("grammar:unseen", CorpusSpec("grammar", split="unseen")),
        ("x/y.tsv.gz", CorpusSpec("table", "x/y.tsv.gz")),
        (["x.parquet"], CorpusSpec("table", "x.parquet")),
        (["a.en", "a.de"], CorpusSpec("parallel_files", "a.en", target="a.de")),
        ("wmt/wmt14:de-en", CorpusSpec("dataset", "wmt/wmt14", config="de-en")),
        ("wmt/wmt14:de-en:test", CorpusSpec("dataset", "wmt/wmt14", config="de-en", split="test")),
        ("name::test", CorpusSpec("dataset", "name", split="test")),
    ],
)
def test_parse_specs_finds_kind_of_corpus(value: Any, spec: CorpusSpec) -> None:
    assert parse_specs(value) == [spec]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a.en", "a.de", "a.fr"], "list of 3 names"),
        (["a.tsv", "b.tsv"], r"Write two corpora as \[\[a.tsv\], \[b.tsv\]\]"),
        (["grammar", "grammar:unseen"], "grammar is neither"),
        ("grammar:dev", "splits train, valid, test, unseen"),
        (7, "not 7"),
        ([], r"not \[\]"),
        (["a", 7], "neither a name nor a list"),
        ("a:b:c:d", "name:config:split"),
    ],
)
def test_parse_specs_rejects_invalid_value(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_specs(value)


def test_parse_specs_rejects_single_text_file(tmp_path: Path) -> None:
    source, _ = write_text_files(tmp_path)
    with pytest.raises(ValueError, match=r"a\.en is one file .*\[source, target\]"):
        parse_specs(source)
