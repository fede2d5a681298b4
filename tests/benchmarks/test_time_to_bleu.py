"""Time to a BLEU, read from run folders; curves of two runs; and times of a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_memory import next_size
from benchmarks.pictures import curves, digest, draw_time_to_bleu
from benchmarks.run_logs import Clock
from benchmarks.tables import render
from benchmarks.time_to_bleu import collect, compare, curves_table, difference, make_tables, read_name
from common.settings import dump_settings
from train.config import RunConfig


def block(step: int, seconds: float, time: float, cpu: float) -> dict[str, Any]:
    """Return a line of timing.jsonl with a speed of 100 target tokens per second."""
    speed = {"seconds_per_update": seconds, "tgt_tokens_per_second": 100.0}
    return {"step": step, "time": time, "cpu_seconds": cpu, **speed}


def write_run(folder: Path, bleu: list[float], seed: int = 1, scale: float = 1.0) -> Path:
    """Write a run with updates of 1 second and, every 10 updates, a validation of 5 seconds."""
    folder.mkdir()
    config = RunConfig()
    config = replace(config, train=replace(config.train, seed=seed))
    config = replace(config, schedule=replace(config.schedule, scale=scale))
    config = replace(config, validation=replace(config.validation, every=10))
    (folder / "config.yaml").write_text(dump_settings(config))
    metrics, timing = [], []
    for i, value in enumerate(bleu, start=1):
        metrics += [{"step": 10 * i, "loss": 5.0 - i}, {"step": 10 * i, "valid_loss": 4.0 - i, "valid_bleu": value}]
        timing += [block(10 * i, 1.0, 15.0 * i - 5, 15.0 * i), {"step": 10 * i, "time": 15.0 * i}]
    for name, lines in (("metrics", metrics), ("timing", timing)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_collect_finds_first_validation_with_bleu(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0, 21.0, 19.0, 30.0])
    (point,) = collect({"a": [run]}, [20.0])["runs"]["a"]["reached"]["20"]
    assert (point["step"], point["valid_bleu"]) == (20, 21.0)


def test_collect_returns_none_if_bleu_is_not_reached(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0])
    assert collect({"a": [run]}, [20.0])["runs"]["a"]["reached"]["20"] == [None]


def test_clock_returns_seconds_with_and_without_validations() -> None:
    clock = Clock([block(10, 1.0, 110, 10), {"step": 10, "time": 115}, block(20, 2.0, 135, 30)])
    assert (clock.seconds(10), clock.clock_seconds(10)) == (10, 15)
    assert (clock.seconds(20), clock.clock_seconds(20)) == (30, 35)


def test_clock_interpolates_between_lines() -> None:
    clock = Clock([block(10, 1.0, 110, 10), block(20, 2.0, 130, 30)])
    assert (clock.seconds(15), clock.tokens(15)) == (20, 2000)


@pytest.mark.parametrize("cpu", [2, 42])
def test_clock_ignores_interruptions(cpu: int) -> None:
    steady = [block(10 * i, 1.0, 100 + 10 * i, 10 * i) for i in range(1, 5)]
    again = [block(50, 1.0, 9000, cpu), block(60, 1.0, 9010, cpu + 10)]
    assert Clock(steady + again).clock_seconds(60) == 60


def test_collect_rejects_runs_of_different_recipes(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0], seed=2, scale=2.0)]
    with pytest.raises(ValueError, match=r"differ in schedule\.scale"):
        collect({"both": runs}, [5.0])


def test_collect_ignores_incomplete_last_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0, 6.0])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    assert len(collect({"a": [run]}, [5.0])["runs"]["a"]["curves"][0]) == 2


def test_result_contains_no_folders_of_runs(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0], seed=2)
    assert str(tmp_path) not in json.dumps([collect({"both": [a, b]}, [5.0]), compare("a", a, "b", b)])


def test_compare_finds_equal_curves(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0, 6.0]), write_run(tmp_path / "b", [5.0, 6.0])
    found = compare("a", a, "b", b)["curves"]
    assert {(curve["equal"], curve["largest"]) for curve in found.values()} == {(2, 0)}


def test_difference_finds_update_of_largest_difference() -> None:
    found = difference([1, 2, 3], {1: 4.0, 2: 2.0, 3: 1.0}, {1: 4.0, 2: 2.5, 3: 1.0})
    assert (found["largest"], found["at_update"], found["largest_of_the_value"]) == (0.5, 2, 0.25)


def test_read_name_rejects_folder_without_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        read_name(f"a={tmp_path}")


def test_table_has_no_time_if_seed_has_not_reached_bleu(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [5.0, 22.0]), write_run(tmp_path / "b", [5.0, 6.0], seed=2)]
    table = render(make_tables(collect({"both": runs}, [5.0, 20.0]))["time_to_bleu"])
    assert "| both | 5 | 10 | 0.2 (0.2 to 0.2) | 0.2 (0.2 to 0.2) | 0.00 | 2 of 2 |" in table
    assert "| both | 20 | not reached |  |  |  | 1 of 2 |" in table


def test_table_of_curves_has_row_for_each_curve(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0])
    table = render([curves_table({"pairs": [compare("a", a, "b", b)]})])
    assert "| a and b | fp32 | validation BLEU | 1 | 0 | 1 | 0.2 | 10 |" in table


def test_picture_contains_digest_of_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = collect({"a": [write_run(tmp_path / "a", [5.0, 22.0])]}, [20.0])
    draw_time_to_bleu(result, tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    assert len(content) > 10_000
    assert digest(curves(result)).encode() in content


def test_training_seconds_are_those_of_updates() -> None:
    timing = [{"step": 10, "seconds_per_update": 2.0}, {"step": 10}, {"step": 15, "seconds_per_update": 1.0}]
    assert Clock(timing).training_seconds() == 25


@pytest.mark.parametrize("limit", [0, 40, 1024, 5000, 123_456])
def test_next_size_ends_close_below_limit(limit: int) -> None:
    fits, too_many = 0, None
    tokens: int | None = 1024
    while tokens is not None:
        fits, too_many = (tokens, too_many) if tokens <= limit else (fits, tokens)
        tokens = next_size(fits, too_many, most=2**21)
    assert 0 <= limit - fits <= max(64, limit / 8)
