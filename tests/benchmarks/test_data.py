"""The sums and formulas behind the tables of text to batches and of several devices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.data import command, corpora, count_padding, on_paper
from benchmarks.data_tables import data, padding, scaling, scaling_model
from benchmarks.scaling import (
    GPUS,
    Assumed,
    balance_of,
    bricks_for,
    communication,
    limits,
    paper_rows,
    slices_of,
    update_seconds,
)
from data_pipeline.batch_plan import BatchPlan

ASSUMED = Assumed()
EVEN = dict.fromkeys(GPUS, 1.0)


def make_plan(bricks: int = 4) -> BatchPlan:
    src, tgt = np.random.default_rng(1).integers(2, 30, (2, 3000))
    return BatchPlan(src, tgt, tokens_per_update=3000, per_update=bricks, max_buckets=8, seed=1)


def corpus() -> dict[str, Any]:
    """As `measure_corpus` and those after it give it."""
    stages = ("read", "filter", "duplicates", "vocabulary", "tokenise", "plan")
    row = {"tokens_per_update": 2500, "bricks": 4, "updates_per_epoch": 3, "positions_of_a_batch": [1, 2]}
    return {
        "pairs": 1000,
        "sentences_learned_from": 2000,
        "tokens_per_pair": [10.0, 20.0],
        "stages": {name: {"seconds": 0.1, "pairs_per_second": 10_000} for name in stages},
        "bytes_per_pair": {"text": 100.0, "ids": 60.0},
        "memory_bytes_per_pair": {"filter": 9.0, "duplicates": 66.0, "tokenise": 50.0, "plan": 73.0},
        "padding": [row | {"asked": asked, "padding": 0.1, "shapes": asked - 1} for asked in (8, 96)],
        "loader": {"tgt_tokens_per_second": 300_000},
        "consumed": {"tgt_tokens_per_second": 1500.0, "threads": 1, "given": False},
    }


def test_padding_counted_batch_by_batch_is_what_the_plan_says() -> None:
    plan = make_plan()
    counted = count_padding(plan)
    assert counted["padding"] == pytest.approx(plan.padding(), abs=1e-4)
    assert counted["shapes"] <= len(plan.buckets)


def test_the_command_of_a_result_names_no_folder() -> None:
    assert command(["benchmarks/data.py", "--data", "multi30k", "/a/b/train.en", "c/train.de"]) == (
        "python benchmarks/data.py --data multi30k train.en train.de"
    )


def test_a_corpus_without_a_configuration_is_bases() -> None:
    named, plain = corpora([["multi30k", "a.en", "a.de"], ["b.en", "b.de"]], pairs=1, vocab_size=500)
    assert (named.name, plain.name) == ("multi30k", "base")
    assert "data.vocab_size=500" in plain.overrides


def test_one_file_is_no_corpus() -> None:
    with pytest.raises(ValueError, match=r"--data a.en is not \[CONFIG\] SOURCE TARGET"):
        corpora([["a.en"]], pairs=1, vocab_size=1)


def test_a_billion_pairs_grow_in_proportion_but_for_the_vocabulary() -> None:
    small, large = ({row["step"]: row for row in on_paper(pairs, corpus())["steps"]} for pairs in (10**9, 2 * 10**9))
    assert large["plan"]["memory_gb"] == 2 * small["plan"]["memory_gb"] == 146.0
    assert large["tokenise"]["hours"] == pytest.approx(2 * small["tokenise"]["hours"], abs=0.02)
    assert large["vocabulary"] == small["vocabulary"]


def test_a_step_that_takes_more_memory_than_a_host_has_does_not_fit() -> None:
    fits = {row["step"]: row["fits"] for row in on_paper(10**9, corpus())["steps"]}
    assert [step for step, does in fits.items() if not does] == ["duplicates", "plan"]


def test_a_sum_within_a_node_takes_what_a_ring_takes() -> None:
    free = replace(ASSUMED, hop_seconds=0.0)
    assert communication(free, 8, 360e9) == pytest.approx(2 * 7 / 8)


def test_a_sum_over_nodes_waits_for_their_network_too() -> None:
    free = replace(ASSUMED, hop_seconds=0.0)
    inside = communication(free, 8, 50e9)
    assert communication(free, 64, 50e9) == pytest.approx(inside + 2 * 7 / 8)


def test_one_gpu_sums_nothing_and_learns_at_its_own_rate() -> None:
    spent = update_seconds(ASSUMED, 1, 25_000, 4, 1.0)
    assert spent["compute"] == pytest.approx(25_000 / ASSUMED.tokens_per_second)
    assert spent["sum"] == spent["exposed"] == 0


def test_a_sum_never_hides_whole() -> None:
    spent = update_seconds(ASSUMED, 8, 10_000_000, 4, 1.0)
    assert 0 < spent["exposed"] < spent["sum"]


@pytest.mark.parametrize("gpus", GPUS)
def test_the_bricks_on_paper_are_those_that_the_plan_would_take(gpus: int) -> None:
    bricks = bricks_for(gpus)
    assert slices_of(gpus, bricks) is not None
    assert 0 < balance_of(make_plan(bricks), gpus) <= 1


def test_four_bricks_are_too_few_for_64_ranks() -> None:
    assert slices_of(64, 4) is None


def test_more_gpus_want_a_larger_update() -> None:
    wide = {row["gpus"]: row for row in limits(ASSUMED, EVEN)["update_needed"] if row["efficiency"] == 0.5}
    assert wide[64]["tokens_per_update"] > wide[8]["tokens_per_update"]


def test_every_table_has_as_many_cells_in_each_row_as_in_its_head() -> None:
    measured: dict[str, Any] = {"parameters": 10, "bytes_per_update": 40, "seconds_of_a_sum": 0.1}
    measured |= {"efficiency": [0.9, 0.8, 1.0], "efficiency_without_the_sum": [0.9, 0.8, 1.0]}
    measured |= {"median": {"1 rank": 2.0, "2 ranks": 1.1, "2 ranks, no sum": 1.0}}
    results: dict[str, Any] = {
        "data": {
            "corpora": {"demo": corpus(), "multi30k": corpus()},
            "gpu_tokens_per_second": 1_000_000,
            "start": {"pairs": 10, "seconds": [1.0, 2.0]},
            "wmt14_size": None,
            "billion": {"pairs": 10**9, "like": "demo", "host_gb": 64, **on_paper(10**9, corpus())},
        },
        "scaling": {
            "models": {"demo": measured},
            "machine": {"processor": "a processor", "cores": 2},
            "balance": {"8": 0.9},
            "paper": {"rows": paper_rows(ASSUMED, EVEN), **limits(ASSUMED, EVEN)},
        },
    }
    for make in (data, padding, scaling, scaling_model):
        for table in make(results).split("\n\n"):
            assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) <= 1
