"""The built-in corpus as a corpus of sentence pairs."""

from pathlib import Path

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import iterate_pairs, load_corpus, read_pairs
from data_pipeline.sources.names import parse_specs


def test_built_in_corpus_depends_on_role_seed_and_number_of_pairs(tmp_path: Path) -> None:
    config = DataConfig(grammar_pairs=50)
    train = read_pairs("grammar", config, "train")
    assert len(train[0]) == len(train[1]) == 50
    assert read_pairs("grammar:train", config, "test") == train
    assert read_pairs("grammar", config, "valid") != read_pairs("grammar", config, "test")
    assert read_pairs("grammar", DataConfig(grammar_pairs=50, seed=2), "train") != train


def test_built_in_corpus_does_not_depend_on_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_pipeline.worker_pool.POOL_FROM", 100)
    monkeypatch.setattr("data_pipeline.sources.corpus.PAIRS_AT_ONCE", 40)
    spec, config = parse_specs("grammar")[0], DataConfig(grammar_pairs=100)
    one, two = (list(iterate_pairs(load_corpus(spec, config, "train", tmp_path, threads))) for threads in (1, 2))
    assert one == two
