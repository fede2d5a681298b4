"""Programs in processes of their own, and the figures that are computed from their answers."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import runner
from benchmarks.runner import (
    ROOT,
    Answer,
    dump,
    new_result,
    ratios,
    running,
    save,
    show_spread,
    spread,
    take_turns,
    time_in_turn,
    timed_calls,
)


def start_counter(first: int) -> Answer:
    count = first

    def answer(request: str) -> dict[str, Any]:
        nonlocal count
        count += 1
        if request == "fail":
            raise SystemExit(3)
        return {"count": count}

    return answer


def test_program_answers_in_its_own_process() -> None:
    with running({"a": (start_counter, 0), "b": (start_counter, 10)}, "cpu", threads=1) as programs:
        assert programs["a"].process.pid != programs["b"].process.pid
        assert [programs["a"].ask("")["count"] for _ in range(2)] == [1, 2]
        assert programs["b"].ask("")["count"] == 11
        with pytest.raises(ValueError, match="a program ended with status 3"):
            programs["a"].ask("fail")


def test_take_turns_calls_every_function_once_per_round() -> None:
    calls: list[str] = []
    results = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b", "a", "b"]
    assert {name: len(own) for name, own in results.items()} == {"a": 2, "b": 2}


def test_time_in_turn_omits_warm_up_round() -> None:
    calls: list[str] = []
    seconds = time_in_turn({"a": lambda: calls.append("a")}, rounds=2)
    assert (len(calls), len(seconds["a"])) == (3, 2)


class Timed:
    """Functions that call each other."""

    @staticmethod
    def outer() -> None:
        time.sleep(0.01)
        Timed.inner()

    @staticmethod
    def inner() -> None:
        time.sleep(0.2)


def test_timed_calls_excludes_inner_call_from_outer_one() -> None:
    real = Timed.outer
    with timed_calls({(Timed, "outer"): "outside", (Timed, "inner"): "inside"}) as seconds:
        Timed.outer()
    assert 0.01 <= seconds["outside"] < 0.2 <= seconds["inside"]
    assert Timed.outer is real


def test_command_of_result_contains_no_absolute_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data", "multi30k", "/a/b/train.en", "c/train.de"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/data.py"), *words])
    assert new_result()["command"] == "python -m benchmarks.data --data multi30k train.en c/train.de"


def test_spread_of_ratios_compares_same_round() -> None:
    assert spread(ratios([2.0, 4.0, 6.0], [1.0, 4.0, 2.0])) == [2.0, 1.0, 3.0]
    assert show_spread([2.0, 1.0, 3.0]) == "2.00 (1.00 to 3.00)"


def test_dump_writes_list_of_numbers_in_one_line() -> None:
    result = {"rows": [["a [b]", "c\nd"], [1, 2.5]], "deep": {"empty": [], "list": [{"x": [1]}]}}
    text = dump(result)
    assert json.loads(text) == result
    assert "[1, 2.5]" in text


def test_save_writes_smoke_test_to_given_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    save("x", {"figure": 1}, {}, smoke_test=True)
    assert not list(tmp_path.iterdir())
    for smoke_test in (False, True):
        save("x", {"figure": 1}, {}, smoke_test=smoke_test, folder=tmp_path / "new")
        assert json.loads((tmp_path / "new" / "x.json").read_text()) == {"figure": 1, "tables": {}}
        (tmp_path / "new" / "x.json").unlink()
    save("x", {"figure": 1}, {})
    assert (tmp_path / "results" / "x.json").exists()


@pytest.mark.parametrize("folder", ["benchmarks", "docs/exercises"])
def test_commands_are_started_as_modules(folder: str) -> None:
    """`python -m` needs no `sys.path`; the first docstring names the command."""
    for file in (ROOT / folder).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "sys.path" not in text
        if '__name__ == "__main__"' in text:
            assert f"python -m {folder.replace('/', '.')}.{file.stem}" in text, file
