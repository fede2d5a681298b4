"""Which corpus a role takes when it is not named."""

from typing import Any

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.spec import corpus_value

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
