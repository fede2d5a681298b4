"""Time to a stated BLEU is read from what runs wrote, and favours nobody."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_run import following
from benchmarks.time_to_bleu import Clock, apart, collect, compare, draw, read_name
from benchmarks.time_to_bleu_tables import same_curves, time_to_bleu
from common.settings import dump_settings
from train.config import RunConfig


def block(step: int, seconds: float, time: float, cpu: float) -> dict[str, Any]:
    """A line of timing.jsonl that tells the speed, at 100 target tokens a second."""
    speed = {"seconds_per_update": seconds, "tgt_tokens_per_second": 100.0}
    return {"step": step, "time": time, "cpu_seconds": cpu, **speed}


def write_run(folder: Path, bleu: list[float], seed: int = 1, scale: float = 1.0) -> Path:
    """A run with a validation after every 10 updates of 1 second, each of which takes 5 seconds."""
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


def test_a_figure_is_reached_at_the_first_validation_that_has_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0, 21.0, 19.0, 30.0])
    (point,) = collect({"a": [run]}, [20.0])["runs"]["a"]["reached"]["20"]
    assert (point["step"], point["valid_bleu"]) == (20, 21.0)


def test_a_figure_that_was_never_reached_has_no_time(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0])
    assert collect({"a": [run]}, [20.0])["runs"]["a"]["reached"]["20"] == [None]


def test_the_time_is_given_without_and_with_validations() -> None:
    clock = Clock([block(10, 1.0, 110, 10), {"step": 10, "time": 115}, block(20, 2.0, 135, 30)])
    assert (clock.seconds(10), clock.by_the_clock(10)) == (10, 15)
    assert (clock.seconds(20), clock.by_the_clock(20)) == (30, 35)


def test_an_update_between_two_lines_has_its_share_of_the_time_and_the_tokens() -> None:
    clock = Clock([block(10, 1.0, 110, 10), block(20, 2.0, 130, 30)])
    assert (clock.seconds(15), clock.tokens(15)) == (20, 2000)


@pytest.mark.parametrize("cpu", [2, 42])
def test_the_time_that_a_run_was_stopped_does_not_count(cpu: int) -> None:
    steady = [block(10 * i, 1.0, 100 + 10 * i, 10 * i) for i in range(1, 5)]
    again = [block(50, 1.0, 9000, cpu), block(60, 1.0, 9010, cpu + 10)]
    assert Clock(steady + again).by_the_clock(60) == 60


def test_runs_of_other_recipes_are_no_seeds_of_one(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0], seed=2, scale=2.0)]
    with pytest.raises(ValueError, match=r"differ in schedule\.scale"):
        collect({"both": runs}, [5.0])


def test_a_run_that_is_writing_its_last_line_can_be_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [5.0, 6.0])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    assert len(collect({"a": [run]}, [5.0])["runs"]["a"]["curves"][0]) == 2


def test_no_result_names_the_folder_of_a_run(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0], seed=2)
    assert str(tmp_path) not in json.dumps([collect({"both": [a, b]}, [5.0]), compare("a", a, "b", b)])


def test_equal_runs_have_equal_curves(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0, 6.0]), write_run(tmp_path / "b", [5.0, 6.0])
    curves = compare("a", a, "b", b)["curves"]
    assert {(curve["equal"], curve["largest"]) for curve in curves.values()} == {(2, 0)}


def test_the_largest_difference_is_found_where_it_is() -> None:
    found = apart([1, 2, 3], {1: 4.0, 2: 2.0, 3: 1.0}, {1: 4.0, 2: 2.5, 3: 1.0})
    assert (found["largest"], found["at_update"], found["largest_of_the_value"]) == (0.5, 2, 0.25)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        read_name(f"a={tmp_path}")


def test_the_table_has_no_time_for_a_recipe_with_a_seed_that_is_not_there(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [5.0, 22.0]), write_run(tmp_path / "b", [5.0, 6.0], seed=2)]
    table = time_to_bleu({"time_to_bleu": collect({"both": runs}, [5.0, 20.0])})
    assert "| both | 5 | 10 | 0.2 (0.2 to 0.2) | 0.2 (0.2 to 0.2) | 0.00 | 2 of 2 |" in table
    assert "| both | 20 | not reached | | | | 1 of 2 |" in table


def test_the_table_of_curves_has_a_row_for_each(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [5.0]), write_run(tmp_path / "b", [6.0])
    table = same_curves({"same_curves": {"pairs": [compare("a", a, "b", b)]}})
    assert "| a and b | fp32 | validation BLEU | 1 | 0 | 1 | 0.2 | 10 |" in table


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(collect({"a": [write_run(tmp_path / "a", [5.0, 22.0])]}, [20.0]), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize("limit", [0, 40, 1024, 5000, 123_456])
def test_the_search_for_the_largest_batch_ends_close_below_the_limit(limit: int) -> None:
    fits, too_many = 0, None
    tokens: int | None = 1024
    while tokens is not None:
        fits, too_many = (tokens, too_many) if tokens <= limit else (fits, tokens)
        tokens = following(fits, too_many, most=2**21)
    assert 0 <= limit - fits <= max(64, limit / 8)
