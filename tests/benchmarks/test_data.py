"""Formulas of the data benchmark and of the estimate for several GPUs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import data, safety_cost, scaling
from benchmarks.data import count_padding, read_corpora
from benchmarks.runner import Table
from benchmarks.scaling import (
    GPUS,
    Assumed,
    balance_of,
    bucket_batches_for,
    communication,
    estimates,
    limits,
    split_for,
    update_seconds,
)
from data_pipeline.batch_plan import BatchPlan
from transformer.config import ModelConfig
from transformer.model import build, count_parameters

ASSUMED = Assumed()
EVEN = dict.fromkeys(GPUS, 1.0)


def make_plan(per_update: int = 4) -> BatchPlan:
    src, tgt = np.random.default_rng(1).integers(2, 30, (2, 3000))
    return BatchPlan(src, tgt, tokens_per_update=3000, per_update=per_update, max_buckets=8, seed=1)


def corpus() -> dict[str, Any]:
    """Return the figures of a corpus."""
    stages = ("read", "filter", "duplicates", "vocabulary", "tokenise", "plan")
    row = {"tokens_per_update": 2500, "per_update": 4, "updates_per_epoch": 3, "positions_of_a_batch": [1, 2]}
    return {
        "pairs": 1000,
        "tokenizer_sentences": 2000,
        "tokens_per_pair": [10.0, 20.0],
        "stages": {name: {"seconds": 0.1, "pairs_per_second": 10_000} for name in stages},
        "bytes_per_pair": {"text": 100.0, "ids": 60.0},
        "padding": [row | {"buckets": n, "padding": 0.1, "shapes": n - 1} for n in (8, 96)],
        "loader": {"tgt_tokens_per_second": 300_000},
        "consumed": {"tgt_tokens_per_second": 1500.0, "threads": 1},
    }


def test_count_padding_counts_shapes_of_epoch() -> None:
    plan = make_plan()
    batches = [batch for step in range(plan.updates_per_epoch) for batch in plan.update(step).bucket_batches]
    counted = count_padding(plan)
    assert counted["shapes"] == len({(len(batch.indices), batch.src_len, batch.tgt_len) for batch in batches})
    sizes = [len(batch.indices) * (batch.src_len + batch.tgt_len) for batch in batches]
    assert counted["positions_of_a_batch"] == [min(sizes), max(sizes)]
    tokens = plan.src_lengths.sum() + plan.tgt_lengths.sum()
    assert counted["padding"] == pytest.approx(1 - tokens / sum(sizes), abs=1e-4)


def test_read_corpora_uses_base_for_corpus_without_config() -> None:
    corpora = read_corpora([["multi30k", "a.en", "a.de"], ["b.en", "b.de"]], pairs=1)
    assert list(corpora) == ["multi30k", "base"]
    assert "data.vocab_size=8000" in corpora["base"]
    assert "data.vocab_size=8000" not in corpora["multi30k"]


def test_read_corpora_rejects_single_file() -> None:
    with pytest.raises(ValueError, match=r"--data a.en is not \[CONFIG\] SOURCE TARGET"):
        read_corpora([["a.en"]], pairs=1)


def test_communication_inside_node_is_ring() -> None:
    free = replace(ASSUMED, hop_seconds=0.0)
    assert communication(free, 8, 360e9) == pytest.approx(2 * 7 / 8)


def test_communication_between_nodes_adds_their_network() -> None:
    free = replace(ASSUMED, hop_seconds=0.0)
    inside = communication(free, 8, 50e9)
    assert communication(free, 64, 50e9) == pytest.approx(inside + 2 * 7 / 8)


def test_update_of_one_gpu_has_no_all_reduce() -> None:
    spent = update_seconds(ASSUMED, 1, 100_000, 4, 1.0)
    assert spent["compute"] == pytest.approx(100_000 / ASSUMED.tokens_per_second)
    assert spent["all_reduce"] == spent["exposed"] == 0


def test_small_micro_batches_take_least_time() -> None:
    assert update_seconds(ASSUMED, 1, 2500, 4, 1.0)["compute"] == pytest.approx(4 * ASSUMED.micro_batch_seconds)


def test_all_reduce_is_never_hidden_completely() -> None:
    spent = update_seconds(ASSUMED, 8, 10_000_000, 4, 1.0)
    assert 0 < spent["exposed"] < spent["all_reduce"]


@pytest.mark.parametrize("gpus", GPUS)
def test_bucket_batches_of_estimate_suit_plan(gpus: int) -> None:
    per_update = bucket_batches_for(gpus)
    assert split_for(gpus, per_update) is not None
    assert 0 < balance_of(make_plan(per_update), gpus) <= 1


def test_split_for_returns_none_if_ranks_are_too_many() -> None:
    assert split_for(64, 4) is None


def test_more_gpus_need_larger_update() -> None:
    wide = {row["gpus"]: row for row in limits(ASSUMED, EVEN)["update_needed"] if row["efficiency"] == 0.5}
    assert wide[64]["tokens_per_update"] > wide[8]["tokens_per_update"]


def test_tables_have_as_many_cells_as_headings() -> None:
    measured: dict[str, Any] = {"parameters": 10, "bytes_per_update": 40, "seconds_of_an_all_reduce": 0.1}
    measured |= {"efficiency": [0.9, 0.8, 1.0], "efficiency_without_all_reduce": [0.9, 0.8, 1.0]}
    measured |= {"median": {"1 rank": 2.0, "2 ranks": 1.1, "2 ranks, no all-reduce": 1.0}}
    results: dict[str, Any] = {
        "data": {
            "corpora": {"demo": corpus(), "multi30k": corpus()},
            "gpu_tokens_per_second": 1_000_000,
            "start": {"pairs": 10, "seconds": [1.0, 2.0]},
            "wmt14_size": None,
        },
        "scaling": {
            "models": {"demo": measured},
            "machine": {"cpu": "a CPU", "cores": 2},
            "balance": {"8": 0.9},
            "estimate": {"rows": estimates(ASSUMED, EVEN), **limits(ASSUMED, EVEN)},
        },
    }
    tables: list[Table] = []
    for part in (data.make_tables(results["data"]), scaling.make_tables(results["scaling"])):
        tables += [table for parts in part.values() for table in parts]
    assert all(table["rows"] and {len(row) for row in table["rows"]} == {len(table["headings"])} for table in tables)


@pytest.mark.parametrize("stages", [data.STAGES, safety_cost.PARTS])
def test_timed_functions_exist(stages: dict[tuple[object, str], str]) -> None:
    """A benchmark replaces them by name, which no type checker sees."""
    assert all(hasattr(owner, name) for owner, name in stages)


def test_assumed_parameters_equal_base_model() -> None:
    """The paper prints 65 million. With its vocabulary of 37,000, and biases, base has 63,082,496."""
    with torch.device("meta"):
        assert count_parameters(build(ModelConfig())) == Assumed.parameters == 63_082_496
