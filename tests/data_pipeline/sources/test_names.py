"""Which corpus a role takes when it is not named, and how a corpus is written."""

from typing import Any

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.names import CorpusSpec, corpus_value, parse_specs

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
def test_a_data_set_brings_its_own_splits_and_files_do_not(train: Any, own: bool, role: Any) -> None:
    assert corpus_value(DataConfig(train=train), role) == (train if own else None)


def test_a_named_corpus_comes_first() -> None:
    assert corpus_value(DataConfig(valid=FILES), "valid") == FILES
    assert corpus_value(DataConfig(train=FILES, test="grammar:unseen"), "test") == "grammar:unseen"


@pytest.mark.parametrize(
    "name",
    ["grammar", "grammar:unseen", "x/y.tsv.gz", "a/b", "a/b:c", "a/b:c:test", "a/b::test"],
)
def test_a_corpus_is_printed_as_it_is_named(name: str) -> None:
    (spec,) = parse_specs(name)
    assert str(spec) == name


def test_a_corpus_that_is_already_read_names_itself() -> None:
    spec = CorpusSpec("text", "a.en", target="grammar.tsv")
    assert parse_specs(spec) == [spec]
    assert str(spec) == "[a.en, grammar.tsv]"


@pytest.mark.parametrize("value", ["True", "False"])
@pytest.mark.parametrize("name", ["source_lang", "target_lang"])
def test_a_language_that_yaml_took_for_a_truth_value_is_refused_with_the_way_to_write_it(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf'data\.{name} is {value}, .* {name}: "no"'):
        DataConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(DataConfig(**{name: "no"}), name) == "no"  # type: ignore[arg-type]
