"""The corpus of the benchmark has duplicates, and its tables have all measures."""

import os
from pathlib import Path

import pytest

from benchmarks import large_corpus
from benchmarks.large_corpus import estimate, make_corpus, make_tables, private_memory
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import read_pairs

RESULT = {
    "pairs": 40_000_000,
    "processes": 2,
    "shard": 4_000_000,
    "ranks": 2,
    "machine": {"gpu": None, "cpu": "a CPU", "cores": 2, "versions": {"torch": "2"}},
    "prepare": {
        "seconds": 360.0, "pairs_kept": 36_000_000, "duplicates": 4_000_000, "peak_private_gb": 1.0,
        "peak_private_gb_of_a_child": 0.2, "peak_private_gb_together": 1.4, "prepared_gb": 2.0, "lengths_gb": 0.08,
    },
    "starts": [{"seconds": 9.0, "peak_private_gb_of_rank": [0.9, 0.8], "maps_shared_lengths": [True, True]}],
}  # fmt: skip


def test_corpus_has_one_duplicate_in_ten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_corpus, "FILE_PAIRS", 400)
    make_corpus(1000, tmp_path / "text")
    pairs = list(zip(*read_pairs(f"{tmp_path}/text/*.parquet", DataConfig(), "train"), strict=True))
    assert len(pairs) == 1000
    assert len(set(pairs)) == 900
    assert {len(source.split()) for source, _ in pairs} == set(range(3, large_corpus.LONGEST + 1))


def test_estimate_adds_private_memory_of_more_pairs() -> None:
    billion = estimate(RESULT)
    assert (billion["prepare_hours"], billion["prepare_private_gb"]) == (2.5, 3.9)
    assert (billion["rank_private_gb"], billion["lengths_gb_of_a_host"]) == (0.9, 2.0)
    assert sum(len(table["rows"]) for table in make_tables(RESULT | {"billion": billion})["large_corpus"]) == 13


def test_private_memory_is_that_of_process() -> None:
    assert 0 < private_memory(os.getpid())["process"] < 10
